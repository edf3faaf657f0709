use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Client, Options};
use crate::error::{Hint, Kind};
use crate::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);

/// A server on loopback that answers one connection after the other with the next text, and keeps what it was asked.
/// The last text is for all that follow.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn new(answers: impl IntoIterator<Item = String>) -> Self {
        let answers: Vec<String> = answers.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        // It ends with the test program.
        std::thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                let answer = answers.get(turn).or(answers.last()).unwrap();
                serve(stream.unwrap(), answer, &kept);
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn client(&self) -> Client {
        Client::new(&self.url, &Options { total: 5 * SECOND, ..Options::default() }).unwrap()
    }
}

fn serve(stream: TcpStream, answer: &str, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(&stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    asked.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
    if answer == "SILENCE" {
        std::thread::sleep(3 * SECOND);
        return;
    }
    // Whoever does not want it all hangs up.
    (&stream).write_all(answer.as_bytes()).ok();
}

pub(crate) fn json(status: u16, body: &str) -> String {
    answer(status, "Content-Type: application/json; charset=utf-8\r\n", body)
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[test]
fn a_request_carries_its_query_headers_and_body() {
    let server = Server::new([json(200, "{\"a\":1}")]);
    let client = server.client().bearer(&Secret::new("canary")).unwrap();
    assert_eq!(client.get("/api/x y").query("q", "a&b").json().unwrap()["a"], 1);
    let request = client.post("p").header("x-thing", "1").body("{}", "application/json");
    assert_eq!(request.ok().unwrap().status, 200);
    client.put("empty").ok().unwrap();
    client.delete("gone").ok().unwrap();
    let asked = server.asked();
    assert!(asked[0].starts_with("GET /api/x%20y?q=a%26b HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].to_ascii_lowercase().contains("authorization: bearer canary\r\n"), "{}", asked[0]);
    assert!(asked[1].starts_with("POST /p ") && asked[1].contains("x-thing: 1") && asked[1].ends_with("{}"));
    assert!(asked[2].starts_with("PUT /empty ") && asked[3].starts_with("DELETE /gone "));
    assert!(!format!("{client:?}{request:?}").contains("canary"));
}

#[test]
fn a_basic_login_is_sent_as_everybody_reads_it() {
    let server = Server::new([json(200, "1")]);
    server.client().basic("user", &Secret::new("pass:word")).unwrap().get("x").json().unwrap();
    assert!(server.asked()[0].contains("Basic dXNlcjpwYXNzOndvcmQ="));
    assert!(server.client().bearer(&Secret::new("line\nbreak")).is_err());
}

#[test]
fn a_status_says_what_is_wrong_and_shows_no_secret() {
    for (status, kind) in [(401, Kind::Denied), (403, Kind::Denied), (404, Kind::NotFound), (500, Kind::Failed)] {
        let server = Server::new([json(status, "{\"message\": \"bad token\n canary\"}")]);
        let client = server.client().secret_header("x-token", &Secret::new("canary")).unwrap();
        let error = client.get("a").query("secret", "q-canary").json().unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        let text = error.one_line();
        assert!(text.contains(&format!("status {status}")) && text.contains("bad token"), "{text}");
        assert!(!text.contains("canary"), "{text}");
        assert_eq!(server.asked().len(), 1, "it is not asked again");
    }
}

#[test]
fn an_answer_of_another_type_or_not_whole_is_an_error() {
    let cases = [
        (answer(200, "Content-Type: text/html\r\n", "<html>log in</html>"), "came as text/html"),
        (answer(200, "", "{}"), "no type"),
        (json(200, "{\"a\":"), "not whole JSON"),
        ("no http at all\r\n\r\n".to_owned(), "no answer of HTTP"),
    ];
    for (text, expected) in cases {
        let error = Server::new([text]).client().get("x").json().unwrap_err().one_line();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_answer_beyond_its_bound_is_refused_also_when_it_hides_its_length() {
    let long = "x".repeat(1000);
    let unknown = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{long}");
    for text in [answer(200, "", &long), unknown] {
        let server = Server::new([text]);
        let error = server.client().get("x").max(999).ok().unwrap_err();
        assert!(error.to_string().contains("more than 999 bytes"), "{error}");
        assert_eq!(server.client().get("x").max(1000).ok().unwrap().body.len(), 1000);
    }
}

#[test]
fn a_redirect_is_followed_at_home_and_refused_elsewhere() {
    let to = |place: &str| answer(302, &format!("Location: {place}\r\n"), "");
    let server = Server::new([to("/there?x=1"), json(200, "2")]);
    assert_eq!(server.client().get("here").json().unwrap(), 2);
    assert!(server.asked()[1].starts_with("GET /there?x=1 "));
    let other = Server::new([json(200, "3")]);
    let server = Server::new([to(&other.url)]);
    let client = server.client().bearer(&Secret::new("canary")).unwrap();
    assert!(client.get("here").json().unwrap_err().to_string().contains("another place"));
    assert_eq!(other.asked().len(), 0, "no credential left");
    let endless = Server::new([to("/x")]);
    assert!(endless.client().get("here").json().unwrap_err().to_string().contains("more than 5 times"));
    let posted = Server::new([to("/x")]);
    assert_eq!(posted.client().post("here").send().unwrap().status, 302, "only what reads is followed");
}

#[test]
fn what_may_be_done_twice_is_tried_again_and_nothing_else() {
    let cut =
        answer(200, "Content-Type: application/json\r\n", "[1,2,3]").replace("Content-Length: 7", "Content-Length: 99");
    let server = Server::new([json(503, "{}"), cut, json(200, "4")]);
    assert_eq!(server.client().get("x").json().unwrap(), 4);
    assert_eq!(server.asked().len(), 3);
    let server = Server::new([json(503, "{}"), json(200, "4")]);
    assert_eq!(server.client().post("x").send().unwrap().status, 503);
    assert_eq!(server.asked().len(), 1);
    let server = Server::new([json(503, "{}")]);
    assert_eq!(server.client().get("x").json().unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(server.asked().len(), 4);
    let patient = Server::new([answer(429, "Retry-After: 1\r\n", ""), json(200, "5")]);
    let begun = Instant::now();
    assert_eq!(patient.client().get("x").json().unwrap(), 5);
    assert!(begun.elapsed() >= SECOND);
    let long = Server::new([answer(429, "Retry-After: 9999\r\n", ""), json(200, "5")]);
    assert_eq!(long.client().get("x").json().unwrap_err().kind(), Kind::Unreachable);
}

#[test]
fn a_cut_answer_is_incomplete() {
    let cut = answer(200, "", "abc").replace("Content-Length: 3", "Content-Length: 99");
    let error = Server::new([cut]).client().post("x").ok().unwrap_err();
    assert_eq!(error.kind(), Kind::Incomplete, "{}", error.one_line());
}

#[test]
fn a_service_that_is_not_there_or_silent_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let quick = Options { total: SECOND, ..Options::default() };
    let error = Client::new(&url, &quick).unwrap().get("x").json().unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().starts_with(&url), "{error}");
    let error = Client::new("http://no-such-host.invalid", &quick).unwrap().get("x").json().unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{}", error.one_line());
    let server = Server::new(["SILENCE".to_owned()]);
    let begun = Instant::now();
    let error = Client::new(&server.url, &quick).unwrap().get("x").json().unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut, "{}", error.one_line());
    assert!(begun.elapsed() < 2 * SECOND);
}

#[test]
#[expect(clippy::print_stderr, reason = "what was skipped is told")]
fn tls_needs_an_authority_that_is_trusted() {
    use crate::environment::Environment;
    use crate::process::Command;

    let environment = Environment::new(std::env::vars_os());
    let openssl = || Command::new("openssl", &environment).timeout(30 * SECOND);
    if openssl().find().is_err() {
        eprintln!("SKIPPED: no openssl, install openssl");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (key, cert) = (folder.path().join("key"), folder.path().join("cert"));
    let make = openssl().args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    let make = make.args([
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=CA:FALSE",
        "-keyout",
    ]);
    make.arg(&key).arg("-out").arg(&cert).discard().run(&[], 0).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let serve = openssl().args(["s_server", "-www", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"]);
    let _server = serve.arg(&key).arg("-cert").arg(&cert).stream(&[]).unwrap();
    let url = format!("https://localhost:{port}");
    let get = |url: &str, ca_file| {
        let options = Options { total: 5 * SECOND, ca_file, ..Options::default() };
        Client::new(url, &options)?.get("/").ok()
    };
    assert_eq!(get(&url, Some(cert.clone())).unwrap().status, 200);
    let error = get(&url, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("cannot be trusted"), "{}", error.one_line());
    assert!(matches!(error.advice(), Some(Hint::Words(words)) if words.contains("authority")), "{error:?}");
    let other_name = get(&format!("https://127.0.0.1:{port}"), Some(cert)).unwrap_err();
    assert!(other_name.to_string().contains("cannot be trusted"), "{}", other_name.one_line());
    assert!(get(&url, Some(key)).unwrap_err().to_string().contains("no certificate"));
    assert!(get(&url, Some("/nowhere".into())).is_err());
}
