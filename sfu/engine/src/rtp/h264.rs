//! H.264 payloads, RFC 6184: where a keyframe starts.

const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// True for the packet that begins a keyframe: a sequence parameter set, which encoders send in front of every
/// IDR picture, or the start of an IDR slice where the sets travel otherwise.
pub(crate) fn starts_keyframe(payload: &[u8]) -> bool {
    let Some((&first, rest)) = payload.split_first() else { return false };
    match first & 0x1f {
        // A header alone is a unit of nothing.
        IDR | SPS => !rest.is_empty(),
        STAP_A => {
            let mut rest = rest;
            while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
                let Some((unit, next)) = after.split_at_checked(usize::from(u16::from_be_bytes([high, low]))) else {
                    return false;
                };
                match unit.first().map(|b| b & 0x1f) {
                    Some(IDR | SPS) => return true,
                    Some(_) => rest = next,
                    None => return false,
                }
            }
            false
        }
        FU_A => rest.first().is_some_and(|header| header & 0x80 != 0 && matches!(header & 0x1f, IDR | SPS)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keyframes_are_told_from_others() {
        assert!(starts_keyframe(&[0x67, 1, 2]));
        assert!(starts_keyframe(&[0x65, 1]));
        assert!(!starts_keyframe(&[0x41, 1]));
        assert!(starts_keyframe(&[0x78, 0, 2, 0x67, 0, 0, 1, 0x68]));
        assert!(!starts_keyframe(&[0x78, 0, 2, 0x06, 0, 0, 9, 0x65]));
        assert!(starts_keyframe(&[0x7c, 0x85]));
        assert!(!starts_keyframe(&[0x7c, 0x05]));
        assert!(!starts_keyframe(&[0x7c, 0x81]));
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(payload in prop::collection::vec(any::<u8>(), 0..24)) {
            let _starts = starts_keyframe(&payload);
        }
    }
}
