use serde_json::{Value, json};

use super::*;

fn good() -> Value {
    let digest = Digest::of(b"").to_string();
    json!({
        "format": "ccbackup", "version": 1, "id": "20260118-143000", "sequence": 2,
        "created_at": "2026-01-18T14:30:00Z", "finished_at": "2026-01-18T14:30:02Z", "kind": "incremental",
        "parent": {"id": "20260117-143000", "sums_sha256": digest},
        "depends_on": [
            {"id": "20260116-143000", "sums_sha256": digest}, {"id": "20260117-143000", "sums_sha256": digest},
        ],
        "repository_id": "00112233445566778899aabbccddeeff", "repository_sha256": digest,
        "host": "h", "host_id": "any", "tool": "other 1", "sealing": {"cipher": "age", "recipients": ["a", "b"]},
        "chunking": "x",
        "components": [{
            "name": "c", "kind": "files", "captured_from": "2026-01-18T14:30:00Z", "captured_until": "2026-01-18T14:30:01Z",
            "entries": 3, "new_entries": 1, "content_bytes": 1300, "bytes_read": 40, "bytes_stored": 1254,
            "archives": [{
                "name": "c.tar.zst.age", "volume": 0, "size_bytes": 5, "sha256": digest, "tar_bytes": 2560, "frames": 2,
            }],
            "index": {"name": "c.index.zst.age", "size_bytes": 7, "sha256": digest, "segments": 2, "own_segments": 1},
            "problems": [{"kind": "changed", "count": 1}, {"kind": "unreadable", "count": 2}],
        }],
    })
}

fn parse(value: &Value) -> Result<Manifest> {
    Manifest::parse(value.to_string().as_bytes())
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = good();
    change(&mut value);
    value
}

#[test]
fn keys_come_in_any_order_and_unknown_ones_are_passed_over() {
    let manifest = parse(&good()).expect("good");
    assert_eq!(manifest.components[0].left_out, None);
    let written = serde_json::to_string(&manifest).expect("plain");
    assert!(!written.contains("left_out") && !written.contains("table") && !written.contains("tags"));
    let Value::Object(object) = good() else { unreachable!("an object") };
    let reversed: serde_json::Map<_, _> = object.into_iter().rev().collect();
    let text = format!(" {} \n", serde_json::to_string_pretty(&Value::Object(reversed)).expect("plain"));
    assert_eq!(Manifest::parse(text.as_bytes()).expect("another order and white space"), manifest);
    let digest = Digest::of(b"").to_string();
    parse(&changed(|m| {
        m["future"] = json!({"path": null, "x": [1.5, -1]});
        m["parent"] = Value::Null;
        m["tags"] = json!({"b": "1", "a": ""});
        m["components"][0]["future"] = json!(null);
        m["components"][0]["left_out"] = json!(3);
        m["components"][0]["index"]["table"] = json!({"offset": 1, "bytes": 2, "sha256": digest, "future": 1});
    }))
    .expect("optional and unknown keys");
}

#[test]
fn a_key_that_comes_twice_is_damage_at_any_depth() {
    let good = good().to_string();
    for (from, to) in [
        ("\"host\":\"h\"", "\"host\":\"h\",\"host\":\"h\""),
        ("\"cipher\":\"age\"", "\"cipher\":\"age\",\"cipher\":\"age\""),
        ("\"entries\":3", "\"entries\":3,\"entr\\u0069es\":3"),
        ("\"host\":\"h\"", "\"host\":\"h\",\"future\":[{\"x\":1,\"x\":2}]"),
        ("\"host\":\"h\"", "\"host\":\"h\",\"tags\":{\"a\":\"\",\"a\":\"\"}"),
        ("\"version\":1", "\"version\":1,\"version\":2"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        let error = Manifest::parse(text.as_bytes()).expect_err(to);
        assert_eq!(error.kind(), Kind::Damage, "{to}");
    }
    let record = "{\"format\":\"ccbackup\",\"version\":1,\"repository_id\":\"00112233445566778899aabbccddeeff\",\"created_at\":\"2026-01-17T14:30:00Z\"}";
    RepositoryRecord::parse(record.as_bytes()).expect("good");
    for (from, to) in [
        ("{", "{\"x\":1,\"x\":1,"),
        ("aabb", "AABB"),
        ("00112233", "0112233"),
        ("14:30:00Z", "14:30:00+00:00"),
        ("\"2026-01-17T14:30:00Z\"", "null"),
        ("\"version\":1", "\"version\":1.0"),
        ("}", "}{}"),
    ] {
        let text = record.replacen(from, to, 1);
        assert!(RepositoryRecord::parse(text.as_bytes()).is_err_and(|e| e.kind() == Kind::Damage), "{text}");
    }
}

#[test]
fn every_key_has_its_type_and_range_and_must_be_there() {
    type Edit = (&'static str, Value);
    let edits: [Edit; 42] = [
        ("/sequence", json!(0)),
        ("/sequence", json!(1.0)),
        ("/sequence", json!(-1)),
        ("/sequence", json!((1_u64 << 60) + 1)),
        ("/created_at", json!("2026-01-18T14:30:00.0Z")),
        ("/finished_at", json!("2026-02-30T14:30:00Z")),
        ("/created_at", json!("1969-12-31T23:59:59Z")),
        ("/components/0/captured_from", json!("2026-01-18")),
        ("/components/0/captured_until", Value::Null),
        ("/kind", json!("Full")),
        ("/kind", json!("full")),
        ("/depends_on/0/id", json!("20260117-143000")),
        ("/depends_on/0/id", json!("20260118-000000")),
        ("/depends_on/1/id", json!("20260118-143000")),
        ("/depends_on", Value::Null),
        ("/parent/id", json!("20260118-143000")),
        ("/repository_id", json!("00112233445566778899AABBCCDDEEFF")),
        ("/repository_sha256", json!("")),
        ("/host", Value::Null),
        ("/tags", Value::Null),
        ("/tags", json!({"a": 1})),
        ("/sealing", json!({"cipher": "age"})),
        ("/sealing", json!({"cipher": "age", "recipients": []})),
        ("/sealing", json!({"cipher": "age", "recipients": ["b", "a"]})),
        ("/sealing", json!({"cipher": "age", "recipients": ["a", "a"]})),
        ("/sealing", json!({"cipher": "age", "recipients": ["a"], "key_id": "0011223344556677"})),
        ("/sealing", json!({"cipher": "age", "recipients": ["a"], "future": 1})),
        ("/sealing", json!({"recipients": ["a"]})),
        ("/components/0/name", json!("-c")),
        ("/components/0/entries", json!((1_u64 << 60) + 1)),
        ("/components/0/archives/0/frames", json!(0x0800_0001)),
        ("/components/0/archives/0/tar_bytes", json!(1_u64 << 61)),
        ("/components/0/archives/0/volume", json!(1)),
        ("/components/0/index/own_segments", json!("1")),
        ("/components/0/index/table", Value::Null),
        ("/components/0/index/table", json!({"offset": 0, "bytes": 1})),
        ("/components/0/left_out", Value::Null),
        ("/components/0/left_out", json!(-1)),
        ("/components/0/problems/0/count", json!(0)),
        ("/components/0/problems/0/kind", json!("unreadable")),
        ("/components/0/problems/1/kind", json!("aaa")),
        ("/components/0/problems", Value::Null),
    ];
    for (pointer, value) in edits {
        let edited = changed(|m| match m.pointer_mut(pointer) {
            Some(old) => *old = value.clone(),
            None => {
                let (object, key) = pointer.rsplit_once('/').expect("a pointer");
                m.pointer_mut(object).expect("an object")[key] = value.clone();
            }
        });
        let error = parse(&edited).expect_err(&format!("{pointer}: {value}"));
        assert_eq!(error.kind(), Kind::Damage, "{pointer}: {value}");
    }
    let top: Vec<String> = good().as_object().expect("an object").keys().cloned().collect();
    let left_out = |object: &str, key: &str| {
        let edited = changed(|m| {
            m.pointer_mut(object).and_then(Value::as_object_mut).expect("an object").shift_remove(key);
        });
        assert!(parse(&edited).is_err(), "{object} without {key}");
    };
    top.iter().for_each(|key| left_out("", key));
    for object in
        ["/components/0", "/components/0/index", "/components/0/archives/0", "/components/0/problems/0", "/parent"]
    {
        let keys: Vec<_> =
            good().pointer(object).and_then(Value::as_object).expect("an object").keys().cloned().collect();
        keys.iter().for_each(|key| left_out(object, key));
    }
}

#[test]
fn sealing_has_exactly_the_keys_of_its_cipher() {
    let sealing = |value: Value| serde_json::from_value::<Sealing>(value);
    assert_eq!(sealing(json!({"cipher": "none"})).expect("good"), Sealing::None);
    let aes = json!({"cipher": "aes-256-gcm", "key_id": "0011223344aabbcc"});
    let read = sealing(aes.clone()).expect("good");
    assert_eq!(serde_json::to_value(read).expect("plain"), aes);
    for bad in [
        json!({"cipher": "none", "future": 1}),
        json!({"cipher": "none", "recipients": []}),
        json!({"cipher": "none", "recipients": null}),
        json!({"cipher": "none", "key_id": null}),
        json!({"cipher": "aes-256-gcm", "key_id": "0011223344AABBCC"}),
        json!({"cipher": "aes-256-gcm", "key_id": "0011223344aabbc"}),
        json!({"cipher": "aes-256-gcm"}),
        json!({"cipher": "aes-256-gcm", "key_id": "0011223344aabbcc", "recipients": ["a"]}),
        json!({"cipher": "rot13"}),
        json!({"cipher": null}),
        json!("none"),
        json!({}),
    ] {
        assert!(sealing(bad.clone()).is_err(), "{bad}");
    }
}
