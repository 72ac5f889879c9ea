//! Every combination against the rules of the API.

use Capability as C;

use super::*;

const EACH: [Capability; 4] = [C::SendReceive, C::Send, C::Receive, C::None];

fn features(video: Option<VideoResolution>, content: Option<ContentResolution>, count: Option<i64>) -> Features {
    Features {
        audio: None,
        video: video.map(|it| VideoFeature { max_resolution: Some(it) }),
        content: content.map(|it| ContentFeature { max_resolution: Some(it) }),
        attendee: count.map(|it| AttendeeFeature { max_count: Some(it) }),
    }
}

#[test]
fn who_receives_content_receives_video() {
    for audio in EACH {
        for video in EACH {
            for content in EACH {
                let refused = Capabilities { audio, video, content }.broken_rule(&Features::default()).is_some();
                let expected = matches!(content, C::SendReceive | C::Receive) && matches!(video, C::Send | C::None);
                assert_eq!(refused, expected, "{video:?} {content:?}");
            }
        }
    }
}

#[test]
fn defaults_keep_the_rules_of_every_meeting() {
    for video in [None, Some(VideoResolution::None), Some(VideoResolution::Hd)] {
        for content in [None, Some(ContentResolution::None), Some(ContentResolution::Fhd)] {
            let features = features(video, content, None);
            assert_eq!(Capabilities::default_for(&features).broken_rule(&features), None, "{features:?}");
        }
    }
    let no_video = features(Some(VideoResolution::None), None, None);
    let given = Capabilities::default_for(&no_video);
    assert_eq!((given.audio, given.video, given.content), (C::SendReceive, C::Receive, C::SendReceive));
}

#[test]
fn a_meeting_without_video_or_content_gives_none() {
    let silent = features(Some(VideoResolution::None), Some(ContentResolution::None), None);
    for video in [C::SendReceive, C::Send, C::Receive] {
        assert!(Capabilities { video, content: C::None, ..Capabilities::ALL }.broken_rule(&silent).is_some());
    }
    let no_share = features(None, Some(ContentResolution::None), None);
    for content in [C::SendReceive, C::Send, C::Receive] {
        assert!(Capabilities { content, ..Capabilities::ALL }.broken_rule(&no_share).is_some());
    }
}

#[test]
fn rich_pictures_are_for_few() {
    assert!(features(Some(VideoResolution::Fhd), None, None).broken_rule().is_some());
    assert!(features(None, Some(ContentResolution::Uhd), Some(26)).broken_rule().is_some());
    assert!(features(Some(VideoResolution::Fhd), Some(ContentResolution::Uhd), Some(25)).broken_rule().is_none());
    for count in [0, -1, 251] {
        assert!(features(None, None, Some(count)).broken_rule().is_some(), "{count}");
    }
    assert_eq!(Features::default().max_attendees(), 250);
}

#[test]
fn rights_say_the_same() {
    let given = Capabilities { audio: C::Receive, video: C::Send, content: C::None }.to_rights();
    assert!(!given.sends_audio && given.receives_audio && given.sends_video && !given.receives_video);
    assert!(!given.sends_content && !given.receives_content);
    assert_eq!(Capabilities::ALL.to_rights(), Rights::default());
}

#[test]
fn words_are_the_apis() {
    let text = r#"{"Audio":{"EchoReduction":"AVAILABLE"},"Video":{"MaxResolution":"FHD"},"Content":{"MaxResolution":"UHD"},"Attendee":{"MaxCount":25}}"#;
    let read: Features = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let text = r#"{"Audio":"SendReceive","Video":"Receive","Content":"None"}"#;
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Capabilities>(text).unwrap()).unwrap(), text);
    assert!(serde_json::from_str::<Capabilities>(r#"{"Audio":"SendReceive"}"#).is_err());
}
