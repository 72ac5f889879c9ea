//! AV1 payloads, the RTP payload format of the Alliance for Open Media: where a coded video sequence starts.

/// True for the packet that begins a keyframe: the aggregation header's N bit marks the first packet of a coded video
/// sequence, which always begins with an OBU of its own.
pub(crate) fn starts_keyframe(payload: &[u8]) -> bool {
    let Some((&aggregation, obus)) = payload.split_first() else { return false };
    let is_continued = aggregation & 0x80 != 0;
    let is_new_sequence = aggregation & 0x08 != 0;
    is_new_sequence && !is_continued && !obus.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_told_from_others() {
        assert!(starts_keyframe(&[0x18, 0x0a, 0x0b]));
        assert!(!starts_keyframe(&[0x10, 0x32]));
        assert!(!starts_keyframe(&[0x98, 0x32]), "goes on with an OBU that began before");
        assert!(!starts_keyframe(&[0x18]));
        assert!(!starts_keyframe(&[]));
    }
}
