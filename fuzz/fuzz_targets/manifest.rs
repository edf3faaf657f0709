//! Manifests, repository files, digests and signatures from anywhere: no panic, and what is accepted is read back
//! unchanged and names nothing outside its folder.
#![no_main]

use ccbackup::model::{Manifest, RepositoryRecord, is_component_name};
use ccbackup::repo::backup::parse_sums;
use ccbackup::repo::signing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let written = serde_json::to_vec(&manifest).expect("manifests are plain");
        assert_eq!(Manifest::parse(&written).expect("own manifests are read"), manifest);
        let _ = (manifest.bytes_stored(), manifest.problems());
        for component in &manifest.components {
            assert!(is_component_name(&component.name));
            assert_eq!(manifest.component(&component.name), Some(component));
            let names = component.archives.iter().map(|a| &a.name).chain([&component.index.name]);
            names.for_each(|name| assert!(!name.contains('/') && !name.starts_with('.')));
        }
    }
    if let Ok(record) = RepositoryRecord::parse(bytes) {
        let written = serde_json::to_vec(&record).expect("records are plain");
        assert_eq!(RepositoryRecord::parse(&written).expect("own records are read"), record);
    }
    if let Ok(sums) = parse_sums(bytes) {
        // Exactly what `sha256sum -c` would read, and no second way to write it.
        let written: String = sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        assert_eq!(written.as_bytes(), bytes);
        assert!(sums.keys().all(|name| !name.contains('/') && !name.starts_with('.')));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        // There is no trusted key, so nothing can be valid.
        assert!(signing::verify(b"message", text, &[]).is_err());
    }
});
