//! Reads of a compose file what tells which services run, by its plain block form alone: what is written in another form
//! (flow style, anchors, `extends`, several documents) is not seen, and that costs a suggestion, never data. It is no YAML
//! parser, because nothing that is captured depends on it.

use std::collections::BTreeMap;

/// Longest compose file that is looked at, in bytes; a longer one is looked at up to there.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// Most services that are told.
const MAX_SERVICES: usize = 500;

/// A service of a compose file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    /// The image without registry, folder, tag and digest: `postgres` of `docker.io/library/postgres:16-alpine`.
    pub(super) image: String,
    /// Published ports: of the host, and of the container.
    pub(super) ports: Vec<(u16, u16)>,
    /// Variables that are set, with their values as they stand.
    pub(super) variables: BTreeMap<String, String>,
}

impl Service {
    /// The port of this host that leads to a port of the container.
    pub(super) fn published(&self, port: u16) -> Option<u16> {
        self.ports.iter().find(|(_, inside)| *inside == port).map(|(outside, _)| *outside)
    }

    /// The value of a variable, if it stands there plainly.
    pub(super) fn plain(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty() && !value.contains(['$', '{']))
    }
}

/// The services in the order of the file.
pub(super) fn services(text: &str) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    let mut in_services = false;
    // Columns at which services and their keys begin, and the key that is open.
    let (mut service_at, mut key_at, mut key) = (None, None, String::new());
    for line in text.lines() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let content = without_comment(line.trim());
        if content.is_empty() || content == "---" {
            continue;
        }
        if indent == 0 {
            in_services = content == "services:";
            (service_at, key_at) = (None, None);
            continue;
        }
        if !in_services {
            continue;
        }
        if indent <= *service_at.get_or_insert(indent) {
            if services.len() == MAX_SERVICES {
                break;
            }
            let name = unquoted(content.trim_end_matches(':')).to_owned();
            services.push(Service { name, ..Service::default() });
            (key_at, key) = (None, String::new());
            continue;
        }
        let Some(service) = services.last_mut() else { continue };
        // Items of a list may stand at the column of their key.
        let is_item = content.starts_with("- ");
        if indent <= *key_at.get_or_insert(indent) && !is_item {
            let (name, value) = content.split_once(':').unwrap_or((content, ""));
            key = name.trim().to_owned();
            if key == "image" {
                service.image = image_name(unquoted(value.trim())).to_owned();
            }
            continue;
        }
        match key.as_str() {
            "ports" => {
                service.ports.extend(content.strip_prefix("- ").and_then(|item| port_pair(unquoted(item.trim()))));
            }
            "environment" => {
                let pair = match content.strip_prefix("- ") {
                    Some(item) => unquoted(item.trim()).split_once('='),
                    None => content.split_once(':'),
                };
                let (name, value) = pair.unwrap_or((content.trim_start_matches("- "), ""));
                service.variables.insert(unquoted(name.trim()).to_owned(), unquoted(value.trim()).to_owned());
            }
            _ => {}
        }
    }
    services
}

fn without_comment(content: &str) -> &str {
    if content.starts_with('#') {
        return "";
    }
    content.split(" #").next().unwrap_or(content).trim_end()
}

fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

fn image_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next().unwrap_or(name)
}

/// `127.0.0.1:5433:5432/tcp`: the ports of host and container.
fn port_pair(text: &str) -> Option<(u16, u16)> {
    let mut parts = text.split('/').next()?.rsplit(':');
    let inside = parts.next()?.parse().ok()?;
    let outside = parts.next()?.parse().ok()?;
    Some((outside, inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
version: "3.8"   # old
x-common: &common
  restart: always
services:
  # the database
  db:
    image: docker.io/library/postgres:16-alpine
    ports:
      - "127.0.0.1:5433:5432/tcp"
      - 9000
    environment:
      POSTGRES_USER: app   # the role
      POSTGRES_DB: "shop"
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?}
  'cache':
    environment:
    - REDIS_ARGS=--save 60 1
    - ALLOW_EMPTY_PASSWORD
    ports:
    - 6380:6379
    image: "valkey/valkey@sha256:00"
  web: {image: nginx}
volumes:
  db:
    image: not-a-service
"#;

    #[test]
    fn services_are_seen_with_images_ports_and_variables() {
        let found = services(FILE);
        assert_eq!(found.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["db", "cache", "web: {image: nginx}"]);
        let (db, cache) = (&found[0], &found[1]);
        assert_eq!((&*db.image, db.published(5432), db.published(9000)), ("postgres", Some(5433), None));
        assert_eq!((db.plain("POSTGRES_USER"), db.plain("POSTGRES_DB")), (Some("app"), Some("shop")));
        assert!(db.variables.contains_key("POSTGRES_PASSWORD") && db.plain("POSTGRES_PASSWORD").is_none());
        assert_eq!((&*cache.image, cache.published(6379)), ("valkey", Some(6380)));
        assert_eq!(cache.plain("REDIS_ARGS"), Some("--save 60 1"));
        assert_eq!(found[2].image, "");
    }

    #[test]
    fn whatever_stands_there_is_read_without_a_panic() {
        for text in [
            "",
            "services:",
            "services:\n  :\n   - :\n",
            "services:\n\ta:\n",
            " services:\n",
            "services:\n  a:\n  ü: é\n   - \"\n",
        ] {
            services(text);
        }
        for cut in 0..FILE.len() {
            if let Some(text) = FILE.get(..cut) {
                services(text);
            }
        }
    }
}
