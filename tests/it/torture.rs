//! Backs up a tree that another process changes all the time: `tests/torture` does, judges and says what is wrong. Here it
//! runs for some seconds; `scripts/torture.sh` runs it for as long as one likes, with random kills.

use std::path::Path;
use std::process::Command;

#[test]
fn what_is_backed_up_while_the_tree_changes_restores_and_is_true() {
    let dir = tempfile::tempdir().unwrap();
    let mut torture = Command::new("python3");
    torture.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture"));
    torture.args(["--binary", env!("CARGO_BIN_EXE_ccbackup"), "--seed", "1", "--seed", "2"]);
    torture.args(["--seconds", "2", "--files", "300", "--kills", "--dir"]).arg(dir.path());
    let output = torture.output().unwrap_or_else(|e| {
        panic!("this test needs python3, which cannot be started ({e}); scripts/setup.sh installs it")
    });
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let kept = dir.keep();
        panic!("{}; all is kept in {}\n{said}{errors}", output.status, kept.display());
    }
    let summaries: Vec<serde_json::Value> =
        said.lines().filter(|l| l.starts_with('{')).map(|l| serde_json::from_str(l).unwrap()).collect();
    let total = |key: &str| summaries.iter().filter_map(|s| s[key].as_u64()).sum::<u64>();
    assert_eq!(summaries.len(), 2, "{said}{errors}");
    assert!(total("rounds") >= 4, "{said}");
    assert!(total("changes") >= 200, "too few changes while backups were made:\n{said}");
    assert!(total("problems") >= 1, "no change struck a backup:\n{said}");
}
