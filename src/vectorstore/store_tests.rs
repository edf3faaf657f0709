use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::vectorstore::{
    Document, Inventory, Metadata, Reason, Unreadable, document_bytes, hash_of_name, metadata_bytes,
};

const SORTS: [&str; 6] =
    ["healthy", "healthy-gz", "missing-metadata", "truncated-document", "truncated-metadata", "with-empty"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chromem")
}

/// Folders and files of a store, with their bytes.
#[expect(clippy::type_complexity, reason = "two lists, for tests alone")]
fn load(root: &Path) -> (Vec<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>) {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for folder in std::fs::read_dir(root).unwrap().map(|f| f.unwrap().path()) {
        let name = folder.file_name().unwrap().as_encoded_bytes().to_vec();
        for file in std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()) {
            let path = [&name[..], b"/", file.file_name().unwrap().as_encoded_bytes()].concat();
            files.push((path, std::fs::read(&file).unwrap()));
        }
        folders.push(name);
    }
    (folders, files)
}

fn judge(folders: &[Vec<u8>], files: &[(Vec<u8>, Vec<u8>)]) -> Store {
    let name = |path: &[u8]| split(path).map_or(path.to_vec(), |(_, name)| name.to_vec());
    let facts: Vec<_> = files.iter().map(|(path, bytes)| (path, FileFacts::of(&name(path), Ok(bytes)))).collect();
    Store::judge(folders.iter().map(Vec::as_slice), facts.iter().map(|(path, facts)| (path.as_slice(), facts)))
}

#[test]
fn every_fixture_says_what_go_read_in_it() {
    for sort in SORTS {
        let said: Value =
            serde_json::from_slice(&std::fs::read(fixtures().join(format!("{sort}.json"))).unwrap()).unwrap();
        let (folders, files) = load(&fixtures().join(sort));
        let store = judge(&folders, &files);
        assert_eq!(store.collections.len(), said.as_object().unwrap().len(), "{sort}");
        for collection in &store.collections {
            let folder = String::from_utf8(collection.folder.clone()).unwrap();
            let said = &said[&folder];
            let documents = said["documents"].as_array().unwrap();
            let good: Vec<_> = documents.iter().filter(|d| d.get("error").is_none()).collect();
            assert_eq!(collection.documents, good.len() as u64, "{sort}/{folder}");
            assert_eq!(collection.misnamed, 0);
            if let Some(name) = said["name"].as_str().filter(|name| !name.is_empty()) {
                assert_eq!(collection.name.as_deref(), Some(name.as_bytes()), "{sort}/{folder}");
                assert!(collection.well_named());
            }
            for said in good {
                let path = format!("{folder}/{}", said["file"].as_str().unwrap()).into_bytes();
                let (_, bytes) = files.iter().find(|(p, _)| *p == path).unwrap();
                let document = Document::decode(bytes).unwrap();
                assert_eq!(document.id, said["id"].as_str().unwrap().as_bytes());
                assert_eq!(document.content, said["content"].as_str().unwrap().as_bytes());
                assert_eq!(document.embedding.len() as u64, said["dim"].as_u64().unwrap());
                assert_eq!(document.embedding_digest().to_string(), said["embedding_f32le_sha256"].as_str().unwrap());
                let metadata = said["metadata"].as_object().unwrap();
                assert_eq!(document.metadata.len(), metadata.len());
                for (key, value) in metadata {
                    assert_eq!(document.metadata[key.as_bytes()], value.as_str().unwrap().as_bytes());
                }
                assert_eq!(Document::decode(&document_bytes(&document)), Ok(document));
            }
            if let Some((_, bytes)) = files.iter().find(|(p, _)| *p == format!("{folder}/00000000.gob").as_bytes())
                && let Ok(metadata) = Metadata::decode(bytes)
            {
                assert_eq!(Metadata::decode(&metadata_bytes(&metadata)), Ok(metadata));
            }
        }
    }
}

#[test]
fn healthy_is_only_what_chromem_go_would_load() {
    let of = |sort: &str| {
        let (folders, files) = load(&fixtures().join(sort));
        let store = judge(&folders, &files);
        let memories = store.collections.iter().find(|c| c.folder == b"e9f85bf6").unwrap().clone();
        (
            store.count(Health::Healthy),
            store.count(Health::Corrupt),
            memories.reasons,
            memories.documents,
            memories.unreadable,
        )
    };
    assert_eq!(of("healthy"), (3, 0, vec![], 25, vec![]));
    assert_eq!(of("healthy-gz"), (2, 0, vec![], 12, vec![]));
    assert_eq!(of("with-empty"), (2, 0, vec![], 4, vec![]));
    assert_eq!(of("missing-metadata"), (2, 1, vec![Reason::MissingMetadata], 25, vec![]));
    let cut = |file: &str| vec![(file.as_bytes().to_vec(), Unreadable::Truncated)];
    assert_eq!(of("truncated-document"), (2, 1, vec![Reason::Documents(1)], 24, cut("0cb03745.gob")));
    let reasons = vec![Reason::Metadata(Unreadable::Truncated)];
    assert_eq!(of("truncated-metadata"), (2, 1, reasons, 25, cut("00000000.gob")));
}

#[test]
fn order_of_documents_and_maps_and_compression_do_not_change_a_digest_and_content_does() {
    let (folders, mut files) = load(&fixtures().join("with-empty"));
    let before = judge(&folders, &files);
    files.reverse();
    assert_eq!(judge(&folders, &files), before);
    // The same documents as our own encoder writes them: their maps in another order.
    for (path, bytes) in &mut files {
        if let Ok(document) = Document::decode(bytes)
            && !path.ends_with(b"00000000.gob")
        {
            *bytes = document_bytes(&document);
        }
    }
    assert_eq!(judge(&folders, &files), before);
    let digests = |files: &[(Vec<u8>, Vec<u8>)]| {
        let store = judge(&folders, files);
        let memories = store.collections.iter().find(|c| c.folder == b"e9f85bf6").unwrap().clone();
        (memories.digest, memories.embeddings)
    };
    let original = digests(&files);
    let mut changed = |change: fn(&mut Document)| {
        let (_, bytes) = files.iter_mut().find(|(path, _)| path == b"e9f85bf6/2eaa39d9.gob").unwrap();
        let kept = bytes.clone();
        let mut document = Document::decode(bytes).unwrap();
        change(&mut document);
        *bytes = document_bytes(&document);
        let digests = digests(&files);
        *files.iter_mut().find(|(path, _)| path == b"e9f85bf6/2eaa39d9.gob").map(|(_, bytes)| bytes).unwrap() = kept;
        digests
    };
    let text = changed(|document| document.content.push(b'!'));
    assert!(text.0 != original.0 && text.1 == original.1);
    let map = changed(|document| drop(document.metadata.insert(b"new".to_vec(), b"1".to_vec())));
    assert!(map.0 != original.0 && map.1 == original.1);
    let vector = changed(|document| document.embedding[3] = -document.embedding[3]);
    assert!(vector.0 != original.0 && vector.1 != original.1);
}

#[test]
fn what_contextds_own_check_does_not_see_is_seen() {
    let metadata = |name: &str| metadata_bytes(&Metadata { name: name.into(), ..Metadata::default() });
    let document = |id: &str| document_bytes(&Document { id: id.into(), embedding: vec![1.0], ..Document::default() });
    let named = |id: &str| format!("{}.gob", hash_of_name(id.as_bytes()));
    let one = |files: &[(&str, Vec<u8>)]| {
        let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_bytes().to_vec(), bytes.clone())).collect();
        let mut store = judge(&[b"75c374cb".to_vec()], &files);
        assert_eq!(store.collections.len(), 1);
        store.collections.remove(0)
    };
    assert_eq!(hash_of_name(b"memories"), "75c374cb");
    let meta = "75c374cb/00000000.gob";
    let doc = &format!("75c374cb/{}", named("a"));
    let good = one(&[(meta, metadata("memories")), (doc, document("a"))]);
    assert_eq!((good.health, good.documents, good.misnamed, good.well_named()), (Health::Healthy, 1, 0, true));
    // Nothing at all, and what chromem-go passes over.
    assert_eq!(one(&[]).health, Health::Empty);
    assert_eq!(one(&[("75c374cb/00000000.gob.backup", metadata("memories"))]).health, Health::Empty);
    // Metadata that exists: of no bytes, garbage, without a name, of a document.
    let reasons = |bytes: Vec<u8>| one(&[(meta, bytes), (doc, document("a"))]).reasons;
    assert_eq!(reasons(vec![]), [Reason::Metadata(Unreadable::Empty)]);
    assert!(matches!(reasons(b"garbage".to_vec())[..], [Reason::Metadata(_)]));
    assert_eq!(reasons(metadata("")), [Reason::Unnamed]);
    assert_eq!(reasons(document("a")), [Reason::Unnamed]);
    // Documents that exist and are none.
    let collection = one(&[(meta, metadata("memories")), (doc, metadata("memories")), ("75c374cb/x.gob", vec![])]);
    assert_eq!((collection.reasons, collection.health), (vec![Reason::Documents(1)], Health::Corrupt));
    // A compressed document in a plain store is not looked at by chromem-go.
    let mixed = one(&[(meta, metadata("memories")), (&format!("{doc}.gz"), document("a"))]);
    assert_eq!((mixed.reasons, mixed.health), (vec![Reason::Mixed(1)], Health::Corrupt));
    // The folder of another collection, the file of another document.
    let other = one(&[(meta, metadata("checkpoints")), (doc, document("b"))]);
    assert_eq!((other.health, other.misnamed, other.well_named()), (Health::Healthy, 1, false));
}

#[test]
fn tenants_and_the_quarantine_are_found_and_twins_are_told() {
    let bytes = metadata_bytes(&Metadata { name: b"memories".to_vec(), ..Metadata::default() });
    let paths = ["00c374cb", "75c374cb", ".quarantine/75c374cb", "acme/web/75c374cb"];
    let mut files: Vec<_> = paths.iter().map(|p| (format!("{p}/00000000.gob").into_bytes(), bytes.clone())).collect();
    files.push((b"registry.json".to_vec(), b"{}".to_vec()));
    let folders = ["acme", "acme/web", ".quarantine", "deadbeef"].iter().chain(&paths);
    let folders: Vec<Vec<u8>> = folders.map(|p| p.as_bytes().to_vec()).collect();
    let store = judge(&folders, &files);
    let health: Vec<_> =
        store.collections.iter().map(|c| (std::str::from_utf8(&c.folder).unwrap(), c.health)).collect();
    let expected = [
        (".quarantine/75c374cb", Health::Quarantined),
        ("00c374cb", Health::Healthy),
        ("75c374cb", Health::Healthy),
        ("acme/web/75c374cb", Health::Healthy),
        ("deadbeef", Health::Empty),
    ];
    assert_eq!(health, expected);
    assert_eq!(store.others, 1);
    assert_eq!(store.hidden().iter().map(|c| c.folder.as_slice()).collect::<Vec<_>>(), [b"00c374cb"]);
}

#[test]
fn an_inventory_comes_back_and_tells_where_another_differs() {
    let inventories = |sort: &str| -> Vec<Inventory> {
        let (folders, files) = load(&fixtures().join(sort));
        judge(&folders, &files).collections.iter().map(Inventory::of).collect()
    };
    let healthy = inventories("healthy");
    for sort in SORTS {
        for inventory in inventories(sort) {
            assert_eq!(Inventory::parse(&inventory.bytes().unwrap()).unwrap(), inventory);
        }
    }
    let cut = inventories("truncated-document");
    assert!(healthy[0].differences(&cut[0]).is_empty());
    let told = healthy[2].differences(&cut[2]).join("\n");
    assert!(told.contains("health: healthy in the backup, corrupt there"), "{told}");
    assert!(told.contains("documents: 25 in the backup, 24 there"), "{told}");
    assert!(Inventory::parse(br#"{"name":"mine"}"#).is_err());
}
