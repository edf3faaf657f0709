//! A backup comes back through the tool, through `age | zstd | tar`, and through its own script, and is the same.

use std::fs;
use std::path::Path;

use ccbackup::model::BackupKind;

use crate::support::{Sandbox, assert_same, awkward_tree, look, noise, shell, write};
use ccbackup::engine::verify::Depth;

fn change_tree(tree: &Path) {
    write(&tree.join("plain"), b"changed\n");
    fs::remove_file(tree.join("a-b")).unwrap();
    fs::rename(tree.join("a"), tree.join("moved")).unwrap();
    write(&tree.join("added/deep/file"), &noise(3, 5000));
    fs::copy(tree.join("large"), tree.join("large copy")).unwrap();
    let mut large = fs::read(tree.join("large")).unwrap();
    large[5 << 20] ^= 1;
    write(&tree.join("large"), &large);
    fs::remove_dir_all(tree.join("empty dir")).unwrap();
    write(&tree.join("empty dir"), b"now a file");
    write(&tree.join("linked/first"), b"two names, changed");
    let sparse = fs::OpenOptions::new().write(true).open(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"more data", 10 << 30).unwrap();
}

fn all_ways(mut sandbox: Sandbox) {
    awkward_tree(&sandbox.tree());
    let first_tree = look(&sandbox.tree());
    let full = sandbox.create();
    assert_eq!(full.kind, BackupKind::Full);
    assert_same(&first_tree, &look(&sandbox.restore(&full.id)), "restored full backup");
    assert_same(&first_tree, &look(&sandbox.restore_by_hand(&full.id)), "full backup by its script");

    change_tree(&sandbox.tree());
    let second_tree = look(&sandbox.tree());
    let incremental = sandbox.create();
    assert_eq!(incremental.kind, BackupKind::Incremental);
    assert!(incremental.bytes_stored < full.bytes_stored / 2, "{} of {}", incremental.bytes_stored, full.bytes_stored);
    assert_same(&second_tree, &look(&sandbox.restore(&incremental.id)), "restored incremental");
    assert_same(&second_tree, &look(&sandbox.restore_by_hand(&incremental.id)), "incremental by its script");
    assert_same(&first_tree, &look(&sandbox.restore(&full.id)), "the full backup, restored again");

    for depth in [Depth::Keyless, Depth::Deep(100.0)] {
        let report = sandbox.verify_with(&incremental.id, depth, true).unwrap();
        assert!(report.ok, "{:#?}", report.findings);
    }
}

#[test]
fn an_age_chain_comes_back_the_same_by_tool_and_by_hand() {
    all_ways(Sandbox::new());
}

#[test]
fn an_aes_chain_comes_back_the_same_by_tool_and_by_hand() {
    all_ways(Sandbox::aes());
}

#[test]
fn a_clear_chain_comes_back_the_same_by_tool_and_by_hand() {
    all_ways(Sandbox::plain());
}

#[test]
fn a_full_backup_is_unpacked_by_age_zstd_and_tar() {
    let mut sandbox = Sandbox::new();
    awkward_tree(&sandbox.tree());
    let tree = look(&sandbox.tree());
    let full = sandbox.create();
    shell(
        &format!(
            "mkdir out && cd backups/{} && age -d -i ../../identity files.tar.zst.age | zstd -d \
             | LC_ALL=C.UTF-8 tar -x --xattrs --xattrs-include='*' --numeric-owner -p -C ../../out",
            full.id
        ),
        sandbox.dir.path(),
    );
    assert_same(&tree, &look(&sandbox.dir.path().join("out/tree")), "unpacked by hand");
}

#[test]
fn digests_and_signature_hold_for_sha256sum_and_ssh_keygen() {
    let mut sandbox = Sandbox::new();
    write(&sandbox.tree().join("f"), b"x");
    let id = sandbox.create().id;
    shell(
        &format!(
            "cd backups/{id} && sha256sum --strict -c SHA256SUMS && \
             ssh-keygen -Y verify -f ../allowed_signers -I ccbackup -n ccbackup -s SHA256SUMS.sig < SHA256SUMS && \
             [ \"$(ls | grep -vc SHA256SUMS)\" = \"$(wc -l < SHA256SUMS)\" ] && \
             age -d -i ../../identity files.index.zst.age | zstd -d | python3 -c 'import json,sys; [json.loads(l) for l in sys.stdin]'"
        ),
        sandbox.dir.path(),
    );
}
