//! News over SNS topics, signed as AWS signs them, through the whole route: a certificate of our own stands behind them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::hook::aws::{Certificates, Envelope, Heard, open};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::notice::config::NoticeConfig;
use crate::problem::Code;
use crate::webhook::networks::Networks;

const NOW: Timestamp = datetime!(2026-11-21 10:00 UTC);
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:news";

/// AWS's part: an RSA key, a certificate of it, and an https server that hands that out.
struct Aws {
    key: aws_lc_rs::rsa::KeyPair,
    host: String,
    certificates: Certificates,
}

impl Aws {
    async fn start() -> Self {
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let pair =
            rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_ref().to_vec().into(), &rcgen::PKCS_RSA_SHA256)
                .unwrap();
        let signing =
            rcgen::CertificateParams::new(["sns.amazonaws.com".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let pem = signing.pem();
        // The server's own certificate is another one.
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let der = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], der)
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let router = Router::new().route("/cert.pem", axum::routing::get(async move || pem));
        let router = router.route("/confirm", axum::routing::get(async || "confirmed"));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            }
        });
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let networks = Networks::parse(&["127.0.0.0/8".to_owned(), "::1/128".to_owned()]).unwrap();
        Self { key, host, certificates: Certificates::trusting(networks, roots) }
    }

    fn config(&self) -> NoticeConfig {
        NoticeConfig {
            sns_topics: vec![TOPIC.to_owned()],
            sns_certificate_hosts: vec![self.host.clone()],
            ..NoticeConfig::default()
        }
    }

    /// A message as SNS posts it, signed after `change` was made to it.
    fn post(&self, kind: &str, message: &str, change: &Value) -> Value {
        let mut envelope = json!({
            "Type": kind, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Message": message,
            "Timestamp": NOW.format(&Rfc3339).unwrap(), "SignatureVersion": "2",
            "SigningCertURL": format!("https://{}/cert.pem", self.host),
            "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        });
        if kind == "SubscriptionConfirmation" {
            envelope["Token"] = json!("2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92");
            envelope["SubscribeURL"] = json!(format!("https://{}/confirm", self.host));
        }
        for (name, value) in change.as_object().unwrap() {
            envelope[name] = value.clone();
        }
        let names = match kind {
            "Notification" => vec!["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            _ => vec!["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
        };
        let text: String = names
            .iter()
            .filter_map(|name| envelope[*name].as_str().map(|value| format!("{name}\n{value}\n")))
            .collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.key.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
        envelope["Signature"] = json!(STANDARD.encode(&signature));
        envelope
    }

    async fn open(&self, envelope: &Value, now: Timestamp) -> Result<Heard, Error> {
        let envelope: Envelope = serde_json::from_value(envelope.clone()).unwrap();
        open(&self.config(), &self.certificates, &envelope, now).await
    }
}

fn is_forged(result: &Result<Heard, Error>) -> bool {
    matches!(result, Err(Error::Refused(problem)) if problem.code == Code::WebhookSignature)
}

#[tokio::test]
async fn p_07_a_topics_message_needs_a_good_signature_a_named_topic_and_a_fresh_time() {
    let aws = Aws::start().await;
    let good = aws.post("Notification", "{}", &json!({"Subject": "x"}));
    assert!(matches!(aws.open(&good, NOW).await, Ok(Heard::News { .. })));
    assert!(matches!(aws.open(&aws.post("Notification", "{}", &json!({})), NOW).await, Ok(Heard::News { .. })));
    for (name, value) in [
        ("Message", json!("{\"changed\": true}")),
        ("MessageId", json!("another")),
        ("Timestamp", json!("2026-11-21T10:00:01Z")),
        ("Signature", json!(STANDARD.encode([1_u8; 256]))),
        ("Signature", json!("no base64")),
        ("SigningCertURL", json!("https://example.org/cert.pem")),
        ("SignatureVersion", json!("1")),
    ] {
        let mut forged = good.clone();
        forged[name] = value;
        assert!(is_forged(&aws.open(&forged, NOW).await), "{name}");
    }
    // Signed well, and still not wanted: a topic of somebody else, and a replay.
    let strange = aws.post("Notification", "{}", &json!({"TopicArn": "arn:aws:sns:us-east-1:666:evil"}));
    assert!(is_forged(&aws.open(&strange, NOW).await));
    for away in [time::Duration::hours(3), time::Duration::minutes(-10)] {
        assert!(is_forged(&aws.open(&good, NOW + away).await), "{away}");
    }
}

#[tokio::test]
async fn a_named_topic_is_subscribed_by_its_own_host_alone() {
    let aws = Aws::start().await;
    let asked = aws.post("SubscriptionConfirmation", "confirm, please", &json!({}));
    assert!(matches!(aws.open(&asked, NOW).await, Ok(Heard::Confirmed)));
    let elsewhere = json!({"SubscribeURL": "https://127.0.0.1:1/confirm"});
    assert!(is_forged(&aws.open(&aws.post("SubscriptionConfirmation", "confirm", &elsewhere), NOW).await));
}

/// The whole route, from the bytes that SNS posts to the row.
#[tokio::test]
async fn p_07_ses_and_sms_news_reach_their_messages() {
    use crate::auth::keys::Keys;
    use crate::clock::Clock;
    use crate::config::SignalingConfig;
    use crate::db::{self, Db};
    use crate::ids::OrgId;
    use crate::organization::{self, Organization};

    let aws = Aws::start().await;
    let database = test_postgres::TestDatabase::fresh().await;
    let config = SignalingConfig {
        database_url: wire::Redacted::new(database.app_url.clone()),
        notices: aws.config(),
        ..SignalingConfig::default()
    };
    let clock = Clock::by_hand(NOW);
    let db = Db::connect(&config, clock.clone()).await.unwrap();
    let org = OrgId::random();
    let practice = Organization { id: org, name: "Our practice".to_owned(), phone: "+1 555 0100".to_owned() };
    organization::create(&db, &practice).await.unwrap();
    let (link, _end) = wire::link::in_process();
    let address = SocketAddr::from(([127, 0, 0, 1], 8080));
    let stop = tokio_util::sync::CancellationToken::new();
    let app = crate::build(config, Keys::ephemeral().unwrap(), db, clock, &link, address, stop).unwrap();
    // As if it was fetched: that it is, the test above shows.
    aws.open(&aws.post("Notification", "{}", &json!({})), NOW).await.unwrap();
    app.certificates.copy_from(&aws.certificates);
    let (visit, person) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let mut owner = database.owner().await;
    let sql = format!(
        "INSERT INTO visit (visit_id, org_id, patient_id, clinician_id, scheduled_start_at, duration_min, created_by)
             VALUES ('{visit}', '{org}', 'p', 'c', '2026-11-25Z', 30, 'x');
         INSERT INTO participant (participant_id, org_id, visit_id, role, identity_ref, display_name)
             VALUES ('{person}', '{org}', '{visit}', 'PATIENT', 'p', 'P');
         INSERT INTO notice (notice_id, org_id, visit_id, participant_id, recipient_role, channel, template, visit_start, status,
                 destination_hash, masked_destination, created_at, due_at, sent_at, provider, provider_message_id)
             SELECT gen_random_uuid(), '{org}', '{visit}', '{person}', 'PATIENT', channel, 'INITIAL', '2026-11-25Z', 'SENT',
                 decode(repeat('00', 32), 'hex'), '***', now(), now(), now(), provider, id
             FROM (VALUES ('EMAIL', 'ses', 'mail-1'), ('EMAIL', 'ses', 'mail-2'), ('EMAIL', 'ses', 'mail-3'), ('SMS', 'sns', 'sms-1'),
                 ('SMS', 'sns', 'sms-2')) AS t (channel, provider, id)"
    );
    sqlx::Executor::execute(&mut owner, sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
    let router = crate::router::router(app.clone());
    let tell = async |path: &str, id: &str, message: Value| {
        let envelope = aws.post("Notification", &message.to_string(), &json!({"MessageId": id}));
        let request = Request::post(path)
            .header("content-type", "text/plain; charset=UTF-8")
            .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 4000))))
            .body(Body::from(envelope.to_string()))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        (response.status(), to_bytes(response.into_body(), 1 << 16).await.unwrap())
    };
    let mail =
        |kind: &str, id: &str| json!({"eventType": kind, "mail": {"messageId": id, "timestamp": "x", "tags": {}}});
    let mut bounce = mail("Bounce", "mail-2");
    bounce["bounce"] = json!({"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "jane@example.com"}]});
    let mut full = mail("Bounce", "mail-3");
    full["bounce"] = json!({"bounceType": "Transient"});
    let sms =
        |kind: &str, id: &str| json!({"eventType": kind, "messageId": id, "destinationPhoneNumber": "+15551231234"});
    for (path, id, message) in [
        ("/webhooks/ses", "1", mail("Delivery", "mail-1")),
        ("/webhooks/ses", "2", bounce),
        ("/webhooks/ses", "3", full),
        ("/webhooks/ses", "4", mail("Open", "mail-1")),
        ("/webhooks/sms", "5", sms("TEXT_DELIVERED", "sms-1")),
        ("/webhooks/sms", "6", sms("TEXT_UNREACHABLE", "sms-2")),
        ("/webhooks/sms", "6", sms("TEXT_DELIVERED", "sms-2")),
    ] {
        assert_eq!(tell(path, id, message).await.0, StatusCode::NO_CONTENT, "{path} {id}");
    }
    let rows = sqlx::query_scalar::<_, String>(
        "SELECT string_agg(provider_message_id || ' ' || status, ', ' ORDER BY provider_message_id) FROM notice",
    );
    let rows = rows.fetch_one(&mut owner).await.unwrap();
    assert_eq!(rows, "mail-1 DELIVERED, mail-2 FAILED, mail-3 SENT, sms-1 DELIVERED, sms-2 FAILED");
    // A complaint ends e-mail to that address.
    assert_eq!(tell("/webhooks/ses", "7", mail("Complaint", "mail-3")).await.0, StatusCode::NO_CONTENT);
    let is_out =
        db::scoped(&app.db, org, async |tx| super::store::is_opted_out(tx, org, super::Medium::Email, &[0; 32]).await);
    assert!(is_out.await.unwrap());
}
