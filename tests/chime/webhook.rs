//! What happens to meetings is told to the application's own address, signed, until that has taken it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_chimesdkmeetings::Client;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use signaling::webhook::sign::Secret;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::server::{self, Server};
use crate::{FAST, make_key, rust, soon};

/// What the application was sent.
#[derive(Clone, Debug)]
struct Heard {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

/// The application's server: it answers 500 twice, and takes everything from then on.
struct Receiver {
    url: String,
    heard: watch::Receiver<Vec<Heard>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/chime", listener.local_addr().unwrap());
        let (told, heard) = watch::channel(Vec::new());
        let left = Arc::new(Mutex::new(2));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (told, left) = (told.clone(), Arc::clone(&left));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (told, left) = (told.clone(), Arc::clone(&left));
                    async move { Ok::<_, Infallible>(take(request, &told, &left).await) }
                });
                tokio::spawn(async move {
                    // A client that closes early is nothing to a server.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { url, heard }
    }

    async fn wait_for(&mut self, count: usize) -> Vec<Heard> {
        let heard = soon("the events", self.heard.wait_for(|heard| heard.len() >= count)).await;
        heard.unwrap().clone()
    }
}

async fn take(
    request: Request<Incoming>,
    told: &watch::Sender<Vec<Heard>>,
    left: &Mutex<u32>,
) -> Response<Empty<Bytes>> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let heard = Heard {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp").parse().unwrap(),
        signature: text("webhook-signature"),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    };
    told.send_modify(|all| all.push(heard));
    let mut left = left.lock().unwrap();
    let is_refused = *left > 0;
    *left = left.saturating_sub(1);
    let mut response = Response::new(Empty::new());
    if is_refused {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

/// `anteroom webhook` beside the running server.
async fn webhook(server: &Server, arguments: &[&str]) -> Value {
    let data_dir = server.data_dir().to_str().unwrap();
    let output =
        server::command().arg("webhook").args(arguments).args(["--data-dir", data_dir]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn event(heard: &Heard) -> Value {
    serde_json::from_str(&heard.body).unwrap()
}

#[tokio::test]
async fn events_reach_an_application_that_refuses_twice() {
    let networks = ("ANTEROOM_WEBHOOK_NETWORKS", "127.0.0.0/8");
    let server = Server::start_with(&[FAST, networks, ("ANTEROOM_WEBHOOK_RETRY", "100ms")]).await;
    let key = make_key(&server).await;
    let mut receiver = Receiver::start().await;
    let made = webhook(&server, &["add", &receiver.url]).await;
    let secret = Secret::parse(made["secret"].as_str().unwrap()).unwrap();

    let client: Client = rust::client(&server, &key);
    let meeting = client.create_meeting().client_request_token("one").media_region("eu-central-1");
    let meeting = meeting.external_meeting_id("visit-1").send().await.unwrap();
    let meeting = meeting.meeting().unwrap().meeting_id().unwrap().to_owned();
    // Refused twice, then taken: one event, three attempts.
    let heard = receiver.wait_for(3).await;
    assert_eq!(heard.iter().map(|heard| &heard.id).collect::<std::collections::BTreeSet<_>>().len(), 1);

    let attendee = client.create_attendee().meeting_id(&meeting).external_user_id("patient-7").send().await.unwrap();
    let attendee = attendee.attendee().unwrap().attendee_id().unwrap().to_owned();
    client.delete_attendee().meeting_id(&meeting).attendee_id(&attendee).send().await.unwrap();
    client.delete_meeting().meeting_id(&meeting).send().await.unwrap();
    let heard = receiver.wait_for(6).await;
    for heard in &heard {
        let at = time::OffsetDateTime::from_unix_timestamp(heard.timestamp).unwrap();
        assert_eq!(heard.signature, secret.sign(&heard.id, at, &heard.body));
        let event = event(heard);
        assert_eq!((event["source"].as_str(), event["id"].as_str()), (Some("aws.chime"), Some(heard.id.as_str())));
        assert_eq!((event["region"].as_str(), event["account"].as_str().unwrap().len()), (Some("eu-central-1"), 12));
        assert_eq!(event["detail"]["meetingId"], meeting.as_str());
        assert_eq!(event["detail"]["externalMeetingId"], "visit-1");
    }
    let types: Vec<String> =
        heard.iter().skip(2).map(|heard| event(heard)["detail"]["eventType"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["chime:MeetingStarted", "chime:AttendeeAdded", "chime:AttendeeDeleted", "chime:MeetingEnded"]);
    assert_eq!(event(&heard[3])["detail"]["externalUserId"], "patient-7");

    let waiting = async {
        while webhook(&server, &["list"]).await[0]["waiting"] != 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("an empty queue", waiting).await;
    let listed = webhook(&server, &["list"]).await;
    assert!(!listed.to_string().contains("whsec_"));
    webhook(&server, &["remove", made["webhookId"].as_str().unwrap()]).await;
    assert_ne!(webhook(&server, &["list"]).await[0]["removedAt"], Value::Null);
    assert_eq!(receiver.wait_for(6).await.len(), 6, "each event was taken once");
}
