//! A service at one place, and requests to it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use ureq::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use ureq::http::{self, Method, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};
use zeroize::Zeroizing;

use super::answer::Answer;
use super::origin::Origin;
use crate::error::{Context as _, Error, Kind, Result, path_text};
use crate::secret::{Hidden, Secret};

/// Largest answer, unless a request says otherwise.
const DEFAULT_MAX: u64 = 16 << 20;
/// How often a request is sent at most, the first time included.
const TRIES: u32 = 4;
/// Before the second try; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Redirects of one request.
const REDIRECTS_MAX: u32 = 5;
/// Largest file of certificates.
const ROOTS_MAX: u64 = 16 << 20;
/// Where systems keep the certificates they trust: Debian, Red Hat, SUSE, Alpine and BSD.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Limits and trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may take.
    pub connect: Duration,
    /// How long one request may take from its beginning to the end of its answer, all tries and pauses included.
    pub total: Duration,
    /// A file of certificates (PEM) that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(60), ca_file: None }
    }
}

/// A service at one place, with what every request to it carries.
pub struct Client {
    agent: Agent,
    origin: Origin,
    total: Duration,
    headers: Vec<(HeaderName, HeaderValue)>,
    hidden: Hidden,
}

impl Client {
    /// A client of the service at `url`, `http://` or `https://`; nothing is sent yet.
    pub fn new(url: &str, options: &Options) -> Result<Self> {
        let origin = Origin::parse(url)?;
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()));
        if origin.is_tls {
            tls = tls.root_certs(RootCerts::new_with_certs(&roots(options.ca_file.as_deref())?));
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .https_only(origin.is_tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("ccbackup/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(options.connect))
            .build()
            .new_agent();
        Ok(Self { agent, origin, total: options.total, headers: Vec::new(), hidden: Hidden::default() })
    }

    /// Sends a secret as a header of every request.
    pub fn secret_header(mut self, name: &str, secret: &Secret) -> Result<Self> {
        let bad = || Error::usage(format!("the secret for the header {name} holds what a header cannot"));
        let mut value = HeaderValue::from_bytes(secret.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        self.headers.push((HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value));
        self.hidden.add(secret);
        Ok(self)
    }

    /// Sends `Authorization: Bearer` with every request.
    pub fn bearer(mut self, token: &Secret) -> Result<Self> {
        self.hidden.add(token);
        self.secret_header("authorization", &Secret::join([&b"Bearer "[..], token.expose()]))
    }

    /// Sends `Authorization: Basic` with every request.
    pub fn basic(mut self, user: &str, password: &Secret) -> Result<Self> {
        use base64::Engine as _;
        self.hidden.add(password);
        let pair = Secret::join([user.as_bytes(), &b":"[..], password.expose()]);
        let encoded = Secret::new(base64::engine::general_purpose::STANDARD.encode(pair.expose()));
        self.hidden.add(&encoded);
        self.secret_header("authorization", &Secret::join([&b"Basic "[..], encoded.expose()]))
    }

    /// A request for a path below the client's.
    #[must_use]
    pub fn get(&self, path: &str) -> Request<'_> {
        self.request(Method::GET, path)
    }

    /// A request that is sent once only.
    #[must_use]
    pub fn post(&self, path: &str) -> Request<'_> {
        self.request(Method::POST, path)
    }

    /// A request that sets what lies at the path.
    #[must_use]
    pub fn put(&self, path: &str) -> Request<'_> {
        self.request(Method::PUT, path)
    }

    /// A request that removes what lies at the path.
    #[must_use]
    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request(Method::DELETE, path)
    }

    fn request(&self, method: Method, path: &str) -> Request<'_> {
        Request {
            client: self,
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            max: DEFAULT_MAX,
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.origin)
    }
}

/// One request.
#[derive(Debug)]
pub struct Request<'c> {
    client: &'c Client,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<(Zeroizing<Vec<u8>>, String)>,
    max: u64,
}

impl Request<'_> {
    /// Adds to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header that is no secret.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a body of that type.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>, content_type: &str) -> Self {
        self.body = Some((Zeroizing::new(bytes.into()), content_type.to_owned()));
        self
    }

    /// The answer's body may have up to `bytes`; 16 MiB without this.
    #[must_use]
    pub fn max(mut self, bytes: u64) -> Self {
        self.max = bytes;
        self
    }

    /// Sends it and gives the answer, whatever its status. Tried again, with growing pauses, if it may be done twice and the
    /// service could not be reached, was too busy, or broke off.
    pub fn send(&self) -> Result<Answer> {
        let until = Instant::now() + self.client.total;
        let tries = if self.method == Method::POST { 1 } else { TRIES };
        let mut pause = FIRST_PAUSE;
        for _ in 1..tries {
            let (wished, outcome) = match self.attempt(until) {
                Ok((answer, after)) if matches!(answer.status, 429 | 502 | 503 | 504) => (after, Ok(answer)),
                Ok((answer, _)) => return Ok(answer),
                Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Incomplete) => (None, Err(error)),
                Err(error) => return Err(error),
            };
            let wait = wished.unwrap_or(pause).max(pause);
            if Instant::now().checked_add(wait).is_none_or(|then| then >= until) {
                return outcome;
            }
            std::thread::sleep(wait);
            pause *= 2;
        }
        self.attempt(until).map(|(answer, _)| answer)
    }

    /// Sends it; the answer's status must be one of success.
    pub fn ok(&self) -> Result<Answer> {
        self.send()?.ok()
    }

    /// Sends it; the answer must be a success and JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        self.send()?.ok()?.json()
    }

    /// Sends it once and follows redirects. Says also for how long the service wants to be left alone.
    fn attempt(&self, until: Instant) -> Result<(Answer, Option<Duration>)> {
        let mut url = self.client.origin.url(&self.path, &self.query);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.exchange(&url, until)?;
            if matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) && self.method == Method::GET {
                url = self.redirect(&response)?;
                continue;
            }
            return self.read(response);
        }
        Err(Error::failed(format!("{} was redirected more than {REDIRECTS_MAX} times", self.asked())))
    }

    fn exchange(&self, url: &str, until: Instant) -> Result<Response<Body>> {
        let bad = |e: http::Error| Error::usage(format!("{} cannot be asked", self.asked())).because(e);
        let mut request = http::Request::builder().method(self.method.clone()).uri(url);
        for (name, value) in &self.client.headers {
            request = request.header(name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.too_slow());
        }
        let agent = &self.client.agent;
        let result = if let Some((body, content_type)) = &self.body {
            let request = request.header(CONTENT_TYPE, content_type).body(body.as_slice()).map_err(bad)?;
            agent.run(agent.configure_request(request).timeout_global(Some(left)).build())
        } else if self.method == Method::POST || self.method == Method::PUT {
            let request = request.body(&[][..]).map_err(bad)?;
            agent.run(agent.configure_request(request).timeout_global(Some(left)).build())
        } else {
            let request = request.body(()).map_err(bad)?;
            agent.run(agent.configure_request(request).timeout_global(Some(left)).build())
        };
        result.map_err(|e| self.failed(e))
    }

    fn redirect(&self, response: &Response<Body>) -> Result<String> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.client.origin.follow(location).ok_or_else(|| {
            let message = format!("{} was redirected to another place, which is not followed", self.asked());
            Error::failed(message).hint("name the address of the service itself, with the right scheme, host and port")
        })
    }

    fn read(&self, response: Response<Body>) -> Result<(Answer, Option<Duration>)> {
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let wished = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let status = response.status().as_u16();
        let too_large = || Error::failed(format!("the answer to {} has more than {} bytes", self.asked(), self.max));
        let mut body = Zeroizing::new(Vec::new());
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        match reader.by_ref().take(self.max.saturating_add(1)).read_to_end(&mut body) {
            Ok(_) if body.len() as u64 > self.max => return Err(too_large()),
            Ok(_) => {}
            Err(e) => return Err(self.broken_off(e)),
        }
        let answer = Answer { status, content_type, body, asked: self.asked(), hidden: self.client.hidden.clone() };
        Ok((answer, wished))
    }

    /// Method, place and path; never the query.
    fn asked(&self) -> String {
        format!("{} {}", self.method, self.client.origin.url(&self.path, &[]))
    }

    fn too_slow(&self) -> Error {
        Error::new(
            Kind::TimedOut,
            format!("{} was not answered within {} s", self.asked(), self.client.total.as_secs_f64()),
        )
    }

    fn broken_off(&self, cause: io::Error) -> Error {
        if cause.kind() == io::ErrorKind::TimedOut {
            return self.too_slow();
        }
        Error::new(Kind::Incomplete, format!("the answer to {} is not whole", self.asked())).because(cause)
    }

    fn failed(&self, cause: ureq::Error) -> Error {
        let origin = &self.client.origin;
        let unreachable = |why: String| Error::new(Kind::Unreachable, format!("{origin} {why}"));
        match cause {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => unreachable("does not answer".to_owned()),
            ureq::Error::Timeout(_) => self.too_slow(),
            ureq::Error::HostNotFound => unreachable("is not known: its name has no address".to_owned()),
            ureq::Error::ConnectionFailed => unreachable("cannot be reached".to_owned()),
            ureq::Error::Tls(why) => unreachable(format!("cannot be trusted: {why}")),
            ureq::Error::Rustls(why) => distrusted(origin, &why),
            ureq::Error::Io(e) => match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(why) => distrusted(origin, why),
                None => unreachable("cannot be reached, or closed the connection".to_owned()).because(e),
            },
            other => Error::failed(format!("{} has no answer of HTTP", self.asked())).because(other),
        }
    }
}

fn distrusted(origin: &Origin, why: &rustls::Error) -> Error {
    let error = Error::new(Kind::Unreachable, format!("{origin} cannot be trusted: {why}"));
    match why {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            error.hint("name the certificate of its authority, or add it to those of this system")
        }
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(_)) => {
            error.hint("its certificate must be one of a server: `basicConstraints=CA:FALSE`, and a `subjectAltName`")
        }
        _ => error,
    }
}

/// Certificates of the system, and those of a file.
fn roots(ca_file: Option<&Path>) -> Result<Vec<Certificate<'static>>> {
    let mut roots = Vec::new();
    if let Some(file) = SYSTEM_ROOTS.iter().map(Path::new).find(|file| file.exists()) {
        // One that is broken is of no use, and no reason to trust less of the others.
        roots.extend(certificates(file)?.into_iter().flatten());
    }
    if let Some(file) = ca_file {
        let found = certificates(file)?.into_iter().collect::<std::result::Result<Vec<_>, _>>();
        let found = found.map_err(|e| Error::usage(format!("{} is not PEM", path_text(file))).because(e))?;
        if found.is_empty() {
            return Err(Error::usage(format!("{} has no certificate in it", path_text(file))));
        }
        roots.extend(found);
    }
    Ok(roots)
}

type Pem = std::result::Result<Certificate<'static>, ureq::Error>;

fn certificates(file: &Path) -> Result<Vec<Pem>> {
    const DOING: &str = "cannot read the certificates in";
    let mut text = Vec::new();
    File::open(file).and_then(|open| open.take(ROOTS_MAX).read_to_end(&mut text)).at(DOING, file)?;
    let items = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    });
    Ok(items.collect())
}
