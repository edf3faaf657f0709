//! Where a program is.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Kind, Result, path_text};

/// Where programs are looked for when `PATH` is not set.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program's path. A name with a `/` is a path, any other is looked for in `PATH`,
/// whose relative folders are passed over: what they mean depends on where one stands.
pub(super) fn find(program: &Path, package: Option<&str>, environment: &Environment) -> Result<PathBuf> {
    let missing = |place: &str| {
        let error = Error::new(Kind::ToolMissing, format!("the program {} is not {place}", path_text(program)));
        match package {
            Some(package) => error.hint(format!("install the package {package}")),
            None => error,
        }
    };
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return if is_program(program) {
            Ok(program.to_owned())
        } else {
            Err(missing("there, or may not be executed"))
        };
    }
    let path = environment.get("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let found = folders.map(|folder| folder.join(program)).find(|path| is_program(path));
    found.filter(|_| !program.as_os_str().is_empty()).ok_or_else(|| missing("installed: no folder of PATH has it"))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
