//! PostgreSQL's own programs: those of the server's major version, or an error that says which package brings them.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::process::Command;

/// Where Debian, Ubuntu and PGDG put each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Where Red Hat's packages of PGDG do.
const RED_HAT: &str = "/usr/pgsql-";
/// Major versions that are looked for.
const MAJORS: std::ops::RangeInclusive<u32> = 9..=40;

/// Where the programs are looked for.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    bin: Option<PathBuf>,
}

impl Tools {
    /// In `bin` alone, or without one where systems have them.
    pub(super) fn new(bin: Option<&Path>) -> Self {
        Self { bin: bin.map(Path::to_owned) }
    }

    /// A `psql` of any version.
    pub(super) fn psql(&self) -> PathBuf {
        match &self.bin {
            Some(bin) => bin.join("psql"),
            None => MAJORS.rev().find_map(|major| of_system(major, "psql")).unwrap_or_else(|| "psql".into()),
        }
    }

    /// A program of the server's major version.
    pub(super) fn of_major(&self, name: &str, major: u32, environment: &Environment) -> Result<PathBuf> {
        let path = match &self.bin {
            Some(bin) => bin.join(name),
            None => of_system(major, name).unwrap_or_else(|| name.into()),
        };
        let package = package(major);
        let command = Command::new(&path, environment)
            .package(&package)
            .arg("--version")
            .timeout(std::time::Duration::from_secs(30));
        let path = command.find()?;
        let output = command.run(&[], 4096)?;
        let shown = output.text().unwrap_or_default();
        match major_of(shown) {
            Some(found) if found == major => Ok(path),
            found => {
                let found =
                    found.map_or_else(|| format!("says {shown:?} of itself"), |found| format!("is of version {found}"));
                let age = "a newer one makes archives that the server's own tools cannot read, an older one refuses";
                Err(Error::new(
                    Kind::Version,
                    format!("the server is of version {major}, but {} {found}; {age}", path.display()),
                )
                .hint(format!("install the package {package}, or name the folder of its tools as `bin`")))
            }
        }
    }
}

/// Debian's package of the programs.
pub(super) fn package(major: u32) -> String {
    format!("postgresql-client-{major}")
}

fn of_system(major: u32, name: &str) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("{DEBIAN}/{major}/bin/{name}"));
    let red_hat = PathBuf::from(format!("{RED_HAT}{major}/bin/{name}"));
    [debian, red_hat].into_iter().find(|path| path.is_file())
}

/// 15 of `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_a_program_is_known() {
        assert_eq!(major_of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("psql (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("GNU tar"), None);
    }
}
