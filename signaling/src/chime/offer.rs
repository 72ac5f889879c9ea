//! What the session needs to know of an offer: which of its m-lines are video, in order.

/// The longest `mid` that is believed, in bytes: what the media node takes in an offer.
pub(crate) const MAX_MID_BYTES: usize = 16;

/// The `mid` of each video m-line, in order; `None` for one without, which a client may send where a line was stopped.
pub(crate) fn video_mids(sdp: &str) -> Vec<Option<&str>> {
    let mut mids = Vec::new();
    let mut is_video = false;
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            is_video = media.starts_with("video ");
            if is_video {
                mids.push(None);
            }
        } else if let Some(mid) = line.strip_prefix("a=mid:").filter(|_| is_video)
            && let Some(last) = mids.last_mut()
        {
            *last = Some(mid).filter(|mid| (1..=MAX_MID_BYTES).contains(&mid.len()));
        }
    }
    mids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_lines_are_found_in_order() {
        let sdp = "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\nm=video 9 X 96\r\na=mid:1\r\nm=video 0 X 96\r\nm=video 9 X 96\r\na=mid:5\r\n";
        assert_eq!(video_mids(sdp), [Some("1"), None, Some("5")]);
        assert!(video_mids("a=mid:9\r\nm=audio 9\r\na=mid:0\r\n").is_empty());
        let long = format!("m=video 9\r\na=mid:{}\r\n", "x".repeat(17));
        assert_eq!(video_mids(&long), [None]);
    }
}
