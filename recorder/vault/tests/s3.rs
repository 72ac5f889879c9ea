//! The S3 store against a real SeaweedFS process: parts, checksums, written once, ranges, refusals.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panic, and waits by the wall clock"
)]

#[path = "support/weed.rs"]
mod weed;

use std::io::Write;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use vault::store::{self, s3::PART};
use vault::{DataKey, ObjectName, SealWriter, SealedObject, Store, StoreConfig, StoreError};
use wire::RecordingId;

fn client(config: &StoreConfig) -> aws_sdk_s3::Client {
    let keys = Credentials::new(&config.access_key_id, config.secret_access_key.reveal(), None, None, "test");
    let settings = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(keys)
        .force_path_style(true)
        .endpoint_url(&config.endpoint)
        .build();
    aws_sdk_s3::Client::from_conf(settings)
}

async fn unfinished(client: &aws_sdk_s3::Client) -> usize {
    client.list_multipart_uploads().bucket("rec").send().await.unwrap().uploads().len()
}

#[tokio::test]
async fn sealed_objects_go_through_a_real_bucket() {
    let mut weed = weed::Weed::start();
    let config = weed.config("rec");
    let client = client(&config);
    weed.make_bucket(&client, "rec").await;
    let store: Arc<dyn Store> = store::open(&config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let key = DataKey::generate().unwrap();
    let recording = RecordingId::random();

    // One request, exactly one part, and three parts of which the last is small.
    for (artefact, len) in [("small.mp4", 1000), ("border.mp4", PART - 96 - 128 * 16), ("large.webm", 2 * PART + 4321)]
    {
        let name = ObjectName::new(recording, artefact).unwrap();
        let plain: Vec<u8> = (0..len).map(|i| u8::try_from((i * 7 + i / 253) % 256).unwrap()).collect();
        let mut writer = SealWriter::new(&key, &name, 1, std::fs::File::create(&spool).unwrap()).unwrap();
        writer.write_all(&plain).unwrap();
        let (_, count) = writer.finish().unwrap();
        assert!(matches!(store.size(&name).await, Err(StoreError::NotFound)));
        store.put(&name, &spool).await.unwrap();
        assert_eq!(store.size(&name).await.unwrap(), count.sealed);
        assert!(matches!(store.put(&name, &spool).await, Err(StoreError::Exists)), "{artefact} was replaced");
        let object = SealedObject::open(Arc::clone(&store), &name, &key).await.unwrap();
        assert_eq!(object.plain_size(), len as u64);
        for range in [0..1, len / 2..(len / 2 + 70_000).min(len), len - 1..len] {
            let got = object.read_range(range.start as u64..range.end as u64).await.unwrap();
            assert_eq!(got, plain[range]);
        }
        let past = count.sealed..count.sealed + 1;
        assert!(matches!(store.read(&name, past).await, Err(StoreError::Short)));
    }
    assert_eq!(unfinished(&client).await, 0);

    // What lies in the bucket holds no plaintext: the keys are ids, the bodies sealed.
    let listed = client.list_objects_v2().bucket("rec").send().await.unwrap();
    let mut keys: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
    keys.sort_unstable();
    let expected = ["border.mp4", "large.webm", "small.mp4"].map(|name| format!("recordings/{recording}/{name}"));
    assert_eq!(keys, expected);

    let name = ObjectName::new(recording, "small.mp4").unwrap();
    store.delete(&name).await.unwrap();
    store.delete(&name).await.unwrap();
    assert!(matches!(store.read(&name, 0..1).await, Err(StoreError::NotFound)));

    let stranger = StoreConfig { secret_access_key: "wrong".to_owned().into(), ..config };
    let stranger = store::open(&stranger).await.unwrap();
    assert!(matches!(stranger.put(&name, &spool).await, Err(StoreError::Denied)));
}
