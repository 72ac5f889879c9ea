//! The figures: every role's, as a collector reads them, and nothing in them about anybody.

use std::time::Duration;

use serde_json::json;

use crate::recording;
use crate::support::http::Http;
use crate::support::person::Practice;
use crate::support::server::{Server, free_ports};
use crate::support::soon;

/// A collector that knows where the figures are.
struct Collector(Http);

impl Collector {
    async fn read(&self) -> String {
        let answer = self.0.get("/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let kind = answer.headers.get("content-type").unwrap();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// The figures, as soon as the sum over the series `name` (up to a space or a bracket) fits.
    async fn read_until(&self, name: &str, fits: impl Fn(f64) -> bool) -> String {
        // The media node publishes once a second, and a collector can only ask.
        let mut again = tokio::time::interval(Duration::from_millis(100));
        soon(name, async {
            loop {
                again.tick().await;
                let text = self.read().await;
                if sum(&text, name).is_some_and(&fits) {
                    return text;
                }
            }
        })
        .await
    }
}

/// The samples of a text: name, labels, value.
fn samples(text: &str) -> impl Iterator<Item = (&str, Vec<(&str, &str)>, f64)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no labels: {line}"));
        let pairs = labels.split_terminator("\",").map(|pair| {
            let (key, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            (key, value.trim_end_matches('"'))
        });
        (name, pairs.collect(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    })
}

fn sum(text: &str, name: &str) -> Option<f64> {
    samples(text).filter(|(sample, ..)| *sample == name).map(|(_, _, value)| value).reduce(|sum, value| sum + value)
}

/// Whether a label is made of this program's own words: whatever else somebody can think of hides in no figure.
fn is_our_own(key: &str, value: &str) -> bool {
    let is_word = |text: &str| text.len() <= 24 && text.chars().all(|c| c.is_ascii_lowercase() || "_-.".contains(c));
    match key {
        "shard" => value.len() <= 3 && value.parse::<u8>().is_ok(),
        "class" => ["1xx", "2xx", "3xx", "4xx", "5xx"].contains(&value),
        "outcome" | "what" | "bound" | "reason" => is_word(value),
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "version" => value == env!("CARGO_PKG_VERSION"),
        "route" => value.split('/').all(|part| {
            is_word(
                part.strip_prefix('{').and_then(|part| part.strip_suffix('}')).unwrap_or(part).trim_start_matches('*'),
            )
        }),
        _ => false,
    }
}

#[test]
fn what_a_person_could_bring_is_not_our_own() {
    assert!(is_our_own("route", "/api/visits/{id}/links") && is_our_own("route", "none"));
    assert!(!is_our_own("route", "/j/K7QX-22MA") && !is_our_own("route", "/api/visits/9f1c2a4e"));
    assert!(!is_our_own("outcome", "10.0.0.1") && !is_our_own("visit", "one"));
}

#[tokio::test]
async fn the_figures_of_all_roles_are_there_and_name_nobody() {
    let address = format!("127.0.0.1:{}", free_ports(1)[0]);
    let server = Server::start_with(&[("ANTEROOM_METRICS", &address)]).await;
    let collector = Collector(Http::new(&address));
    let practice = Practice::open(&server).await;
    let spare = practice.link().await;
    let (clinician, patient) = recording::start(&practice).await;

    // A visit with two people and a recorder, seen by each role.
    let text = collector.read_until("recorder_jobs_running", |jobs| jobs == 1.0).await;
    assert_eq!((sum(&text, "signaling_rooms"), sum(&text, "signaling_sockets")), (Some(1.0), Some(2.0)), "{text}");
    assert_eq!(sum(&text, "signaling_draining"), Some(0.0));
    let text = collector.read_until("sfu_taps", |taps| taps == 1.0).await;
    assert_eq!((sum(&text, "sfu_rooms"), sum(&text, "sfu_peers_connected")), (Some(1.0), Some(2.0)), "{text}");
    assert!(sum(&text, "sfu_rtp_packets_forwarded_total") > Some(0.0), "{text}");
    assert!(sum(&text, "signaling_join_tokens_redeemed_total") > Some(0.0), "{text}");

    // Strangers who would write into our figures what they like.
    let stranger = Http::with_bearer(&server.addr, "canary-token");
    for path in ["/api/visits/canary-visit", "/j/canary-code", "/canary-page", "/api/canary?canary-query=1"] {
        stranger.get(path).await;
    }
    let on_pages = Http::new(&server.addr).get("/metrics").await;
    assert!(!String::from_utf8_lossy(&on_pages.body).contains("signaling_rooms"), "{on_pages:?}");

    let ended = practice.http.post(&format!("/api/visits/{}/end", practice.visit), &json!({})).await.ok();
    assert_eq!(ended["status"], "COMPLETED");
    let text = collector.read_until("recorder_jobs_total", |ended| ended == 1.0).await;
    assert!(text.contains("recorder_jobs_total{outcome=\"stored\"} 1\n"), "{text}");
    assert!(sum(&text, "recorder_uploaded_bytes_total") > Some(0.0), "{text}");
    let recordings = practice.recordings().await;
    let recording = recordings[0]["recordingId"].as_str().unwrap();

    for personal in [
        &practice.visit,
        &practice.token,
        &clinician.id,
        &patient.id,
        &spare,
        recording,
        "canary",
        "Ana Rivera",
        "Alvarez",
        "story-patient",
        "demo-clinician",
        "127.0.0.1",
    ] {
        assert!(!text.contains(personal), "{personal} is in\n{text}");
    }
    for (name, labels, _) in samples(&text) {
        assert!(["anteroom_", "sfu_", "signaling_", "recorder_"].iter().any(|role| name.starts_with(role)), "{name}");
        for (key, value) in labels {
            assert!(is_our_own(key, value), "{key}=\"{value}\" of {name} is not one of a few words");
        }
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
}
