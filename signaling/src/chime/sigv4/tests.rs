//! Requests that boto3 and the JavaScript SDK really sent, requests that AWS's own Rust signer makes at random, and every way in which
//! one can be wrong.

use std::time::{Duration as StdDuration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const KEY: &str = "ANTEABCDEFGHIJKLMNOP";
const SECRET: &str = "secretsecretsecretsecretsecretsecret1234";

/// A request as it was captured.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn new(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Self { method: method.into(), path: path.into(), query: query.into(), headers: map, body: body.into() }
    }

    fn check(&self, secret: &str, now: Timestamp) -> Result<Claim, Refusal> {
        let claim = read(&self.headers, &self.query, now)?;
        let Self { method, path, query, headers, body } = self;
        verify(&claim, &Signed { method, path, query, headers, body }, secret)?;
        Ok(claim)
    }
}

/// When boto3 1.44.5 sent these, and to which port.
const AT: Timestamp = datetime!(2026-11-21 21:46:05 UTC);

fn boto3(method: &str, target: &str, is_body: bool, signature: &str, body: &str) -> Sent {
    let names = if is_body { "content-type;host;x-amz-date" } else { "host;x-amz-date" };
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20261121/us-east-1/chime/aws4_request, SignedHeaders={names}, Signature={signature}"
    );
    let mut headers = vec![
        ("Host", "127.0.0.1:60567"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "Boto3/1.44.5 md/Botocore#1.44.5"),
        ("X-Amz-Date", "20261121T214605Z"),
        ("Authorization", &authorization),
        ("amz-sdk-request", "attempt=1; max=1"),
    ];
    if is_body {
        headers.push(("Content-Type", "application/json"));
    }
    Sent::new(method, target, &headers, body)
}

fn from_boto3() -> Vec<Sent> {
    const MEETING: &str = "/meetings/0f8fad5b-d9cb-469f-a165-70867728950e";
    vec![
        boto3(
            "POST",
            "/meetings",
            true,
            "fad9a3bb59e6b49060822dfd3bae32382a9884782eac344c56b9f09cef2ace39",
            r#"{"ClientRequestToken": "token-1", "MediaRegion": "us-east-1", "ExternalMeetingId": "Jos\u00e9 #1"}"#,
        ),
        boto3(
            "GET",
            &format!("{MEETING}/attendees?max-results=5&next-token=a%20b%2Fc%2B~%27"),
            false,
            "15434e8a2fd3a72d6d576f14ff008ab87f4385e49a27bd7d11c9d2dfc198a901",
            "",
        ),
        boto3(
            "POST",
            &format!("{MEETING}/attendees?operation=batch-create"),
            true,
            "a46ef734cdf5b86e9706e773693cf0d0510ea1e4c0e3841e2865236ba62ac671",
            r#"{"Attendees": [{"ExternalUserId": "ab"}]}"#,
        ),
        boto3(
            "GET",
            "/tags?arn=arn%3Aaws%3Achime%3Aus-east-1%3A000000000042%3Ameeting%2F0f8fad5b-d9cb-469f-a165-70867728950e",
            false,
            "d50181dbec5dc8cbb8e253478a1a65100107104fab09dbcd9b5c88ed7674994e",
            "",
        ),
        boto3("DELETE", MEETING, false, "889b323db86e947e58cc0b9da0005fc612ef171c8620ac7717982a8704fbdb30", ""),
    ]
}

#[test]
fn what_boto3_signs_is_right() {
    for sent in from_boto3() {
        let claim = sent.check(SECRET, AT).unwrap_or_else(|refusal| panic!("{refusal}: {sent:?}"));
        assert_eq!((claim.access_key_id.as_str(), claim.region.as_str()), (KEY, "us-east-1"));
        assert_eq!(sent.check("another secret", AT), Err(Refusal::Mismatch));
    }
}

#[test]
fn whatever_was_signed_cannot_be_changed() {
    for sent in from_boto3() {
        let changes: [&dyn Fn(&mut Sent); 6] = [
            &|it| it.method = "PATCH".to_owned(),
            &|it| it.path.push('x'),
            &|it| it.query.push_str("&operation=x"),
            &|it| it.body.push(b' '),
            &|it| drop(it.headers.insert("host", HeaderValue::from_static("127.0.0.1:60568"))),
            &|it| drop(it.headers.insert("x-amz-date", HeaderValue::from_static("20261121T214606Z"))),
        ];
        for change in changes {
            let mut changed = sent.clone();
            change(&mut changed);
            assert_eq!(changed.check(SECRET, AT), Err(Refusal::Mismatch), "{changed:?}");
        }
        let mut same = sent.clone();
        same.headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert!(same.check(SECRET, AT).is_ok(), "what is not signed may be added");
    }
}

#[test]
fn a_clock_may_be_five_minutes_off() {
    let [sent, ..] = &from_boto3()[..] else { panic!("no request") };
    for seconds in [-300, 300] {
        assert!(sent.check(SECRET, AT + Duration::seconds(seconds)).is_ok());
    }
    for seconds in [-301, 301, 86_400] {
        assert_eq!(sent.check(SECRET, AT + Duration::seconds(seconds)), Err(Refusal::Skewed));
    }
}

/// A header of a request in place of what it was.
fn with(name: &'static str, change: impl Fn(&str) -> String) -> Result<Claim, Refusal> {
    let mut sent = from_boto3().swap_remove(0);
    let value = change(sent.headers.get(name).map_or("", |value| value.to_str().unwrap()));
    sent.headers.insert(name, HeaderValue::from_str(&value).unwrap());
    sent.check(SECRET, AT)
}

#[test]
fn each_wrong_part_has_its_own_words() {
    let authorization = |from: &'static str, to: &'static str| with("authorization", |text| text.replace(from, to));
    assert_eq!(authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Err(Refusal::Algorithm));
    assert_eq!(authorization("AWS4-HMAC-SHA256 ", "Bearer "), Err(Refusal::Algorithm));
    assert_eq!(authorization("Signature=", "Signature=zz"), Err(Refusal::Malformed));
    assert_eq!(authorization("SignedHeaders=", "Signed="), Err(Refusal::Malformed));
    assert_eq!(authorization(", Signature=", ", Signature=aa, Signature="), Err(Refusal::Malformed));
    assert_eq!(authorization("us-east-1", "US East"), Err(Refusal::Malformed));
    assert_eq!(authorization(KEY, "short"), Err(Refusal::Malformed));
    assert_eq!(authorization("/chime/", "/s3/"), Err(Refusal::Scope));
    assert_eq!(authorization("/20261121/", "/20261120/"), Err(Refusal::Scope));
    assert_eq!(authorization("aws4_request", "aws4"), Err(Refusal::Scope));
    assert_eq!(authorization("content-type;host;", "content-type;"), Err(Refusal::Headers));
    assert_eq!(authorization(";x-amz-date", ""), Err(Refusal::Headers));
    assert_eq!(authorization("content-type;host;x-amz-date", "host;content-type;x-amz-date"), Err(Refusal::Headers));
    assert_eq!(authorization("content-type;", "absent;"), Err(Refusal::Headers));
    assert_eq!(authorization("content-type;", "Content-Type;"), Err(Refusal::Headers));
    assert_eq!(with("authorization", |text| text.repeat(30)), Err(Refusal::Malformed));
    assert_eq!(with("x-amz-date", |_| "yesterday".to_owned()), Err(Refusal::Date));
    assert_eq!(with("x-amz-security-token", |_| "session".to_owned()), Err(Refusal::SessionToken));
    assert_eq!(with("x-amz-content-sha256", |_| "UNSIGNED-PAYLOAD".to_owned()), Err(Refusal::Body));
}

#[test]
fn without_a_header_nothing_is_signed() {
    let mut sent = from_boto3().swap_remove(0);
    sent.headers.remove("authorization");
    assert_eq!(sent.check(SECRET, AT), Err(Refusal::Missing));
    sent.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00".to_owned();
    assert_eq!(sent.check(SECRET, AT), Err(Refusal::Presigned));
    let mut twice = from_boto3().swap_remove(0);
    twice.headers.append("x-amz-date", HeaderValue::from_static("20261121T214605Z"));
    assert_eq!(twice.check(SECRET, AT), Err(Refusal::Date));
}

/// Signs as AWS's Rust SDK does.
fn sign_by_aws(sent: &mut Sent, region: &str, at: Timestamp, with_hash: bool) {
    let identity = Credentials::new(KEY, SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    if with_hash {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let seconds = u64::try_from(at.unix_timestamp()).unwrap();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("chime")
        .time(SystemTime::UNIX_EPOCH + StdDuration::from_secs(seconds))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!("http://localhost{}?{}", sent.path, sent.query);
    let headers: Vec<(String, String)> =
        sent.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = SignableRequest::new(&sent.method, &uri, headers, SignableBody::Bytes(&sent.body)).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let added: Vec<(String, String)> =
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (name, value) in added {
        sent.headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
}

proptest! {
    /// Two implementations that know nothing of each other agree on every request.
    #[test]
    fn what_awss_own_signer_signs_is_right(
        method in "GET|POST|PUT|DELETE",
        segments in proptest::collection::vec("[A-Za-z0-9._~:@!$&'()*+,;=-]{1,12}", 1..5),
        pairs in proptest::collection::vec(("[a-z-]{1,10}", ".{0,12}"), 0..5),
        values in proptest::collection::vec("[ -~]{0,20}", 0..4),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        host in "[a-z]{1,10}(:[1-9][0-9]{0,4})?",
        region in "[a-z]{2}-[a-z]{4,9}-[1-9]",
        with_hash: bool,
        late in -300..=300_i64,
    ) {
        prop_assume!(segments.iter().all(|segment| segment != "." && segment != ".."));
        let encode = |text: &str| percent_encode(text.as_bytes(), UNRESERVED).to_string();
        let path: String = segments.iter().map(|segment| format!("/{}", encode(segment))).collect();
        let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let mut headers = vec![("host".to_owned(), host)];
        headers.extend(values.into_iter().enumerate().map(|(at, value)| (format!("x-amz-meta-{at}"), value)));
        let named: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut sent = Sent::new(&method, &format!("{path}?{}", query.join("&")), &named, "");
        sent.body = body;
        sign_by_aws(&mut sent, &region, AT, with_hash);
        let claim = sent.check(SECRET, AT + Duration::seconds(late));
        prop_assert_eq!(claim.map(|claim| claim.region), Ok(region));
        prop_assert_eq!(sent.check("other", AT), Err(Refusal::Mismatch));
    }

    #[test]
    fn no_header_breaks_the_reader(text in "\\PC{0,200}", query in "\\PC{0,80}") {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("a"));
        headers.insert("x-amz-date", HeaderValue::from_static("20261121T214605Z"));
        for text in [text.clone(), format!("AWS4-HMAC-SHA256 {text}")] {
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                headers.insert("authorization", value);
                prop_assert!(read(&headers, &query, AT).is_err());
            }
        }
    }
}
