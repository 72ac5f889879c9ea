//! The dependency descriptor, a header extension of the AV1 RTP payload format that other codecs use as well: which layer a
//! frame belongs to, what it builds on, and for which decode targets it is needed.

use std::sync::Arc;

/// Most templates and decode targets of a structure: their ids have 6 and 5 bits.
const TEMPLATES: usize = 64;
/// Most frames that one frame builds on. AV1 has seven references.
const REFERENCES: usize = 8;
/// Longest extension that is read: the length of the two-byte form.
const LONGEST: usize = 255;

/// What a frame means for a decode target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indication {
    /// Not part of it.
    NotPresent,
    /// Part of it, and nothing builds on it.
    Discardable,
    /// Part of it, and whoever can decode it can decode all later frames of the target.
    Switch,
    /// Part of it.
    Required,
}

/// The indications of all decode targets: two bits each, the first target in the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indications(u64);

impl Indications {
    const fn set(&mut self, target: u8, bits: u32) {
        self.0 |= (bits as u64 & 3) << ((target as u32 * 2) & 63);
    }

    /// What the frame means for this target.
    pub(crate) const fn of(self, target: u8) -> Indication {
        match self.0 >> ((target as u32 * 2) & 63) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

/// How far back the frames lie that a frame builds on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    distances: [u16; REFERENCES],
    len: u8,
}

impl References {
    fn push(&mut self, distance: u16) -> Option<()> {
        *self.distances.get_mut(usize::from(self.len))? = distance;
        self.len += 1;
        Some(())
    }

    /// The distances in frame numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.distances.iter().copied().take(usize::from(self.len))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: Indications,
    references: References,
}

/// One decode target: the layers that it consists of at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

/// The template structure, sent with keyframes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    offset: u8,
    templates: Vec<Template>,
    /// At most 32.
    pub(crate) targets: Vec<Target>,
    chains: u8,
    /// Of each spatial layer, where told.
    pub(crate) sizes: Vec<(u16, u16)>,
}

impl Structure {
    /// The best target with at most these layers of those that are active; the poorest active one when none is so small.
    pub(crate) fn find(&self, spatial: u8, temporal: u8, active: u32) -> Option<u8> {
        let all = self.targets.iter().zip(0u8..).filter(|(_, index)| active >> (index & 31) & 1 != 0);
        let fits = all.clone().filter(|(target, _)| target.spatial <= spatial && target.temporal <= temporal);
        let best = fits.max_by_key(|(target, index)| (target.spatial, target.temporal, *index));
        let poorest = || all.min_by_key(|(target, index)| (target.spatial, target.temporal, *index));
        best.or_else(poorest).map(|(_, index)| index)
    }

    /// What a target consists of.
    pub(crate) fn target(&self, index: u8) -> Target {
        self.targets.get(usize::from(index)).copied().unwrap_or_default()
    }
}

/// What one packet's descriptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) starts_frame: bool,
    pub(crate) ends_frame: bool,
    pub(crate) frame: u16,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) indications: Indications,
    pub(crate) references: References,
    /// The decode targets that the sender produces at present, where this packet says so.
    pub(crate) active: Option<u32>,
    /// The structure that this packet was read by.
    pub(crate) structure: Arc<Structure>,
    /// It came with this packet.
    pub(crate) is_new_structure: bool,
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit != 0)
    }

    fn small(&mut self, count: usize) -> Option<u8> {
        u8::try_from(self.take(count)?).ok()
    }

    fn medium(&mut self, count: usize) -> Option<u16> {
        u16::try_from(self.take(count)?).ok()
    }

    /// A value below `n`, in as few bits as it takes: `ns(n)` of the AV1 specification.
    fn below(&mut self, n: u32) -> Option<u32> {
        let width = 32 - n.leading_zeros();
        let short = (1u32 << width) - n;
        let value = self.take(usize::try_from(width.checked_sub(1)?).ok()?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}

/// Reads a descriptor by the last structure that came before it, or by its own. `None` when it makes no sense.
pub(crate) fn read(bytes: &[u8], before: Option<&Arc<Structure>>) -> Option<Dependency> {
    if bytes.len() < 3 || bytes.len() > LONGEST {
        return None;
    }
    let mut bits = Bits { bytes, at: 0 };
    let (starts_frame, ends_frame) = (bits.flag()?, bits.flag()?);
    let template = bits.small(6)?;
    let frame = bits.medium(16)?;
    let is_extended = bytes.len() > 3;
    let flag = |bits: &mut Bits<'_>| if is_extended { bits.flag() } else { Some(false) };
    let is_new_structure = flag(&mut bits)?;
    let has_active = flag(&mut bits)?;
    let custom_indications = flag(&mut bits)?;
    let custom_references = flag(&mut bits)?;
    let custom_chains = flag(&mut bits)?;
    let structure = if is_new_structure { Arc::new(read_structure(&mut bits)?) } else { Arc::clone(before?) };
    let count = structure.targets.len();
    let mut active = is_new_structure.then(|| everything(count));
    if has_active {
        active = Some(bits.take(count)?);
    }
    let index = usize::from(template.wrapping_add(64).wrapping_sub(structure.offset) % 64);
    let template = structure.templates.get(index)?;
    let mut indications = template.indications;
    if custom_indications {
        indications = read_indications(&mut bits, count)?;
    }
    let mut references = template.references;
    if custom_references {
        references = References::default();
        loop {
            let size = usize::from(bits.small(2)?);
            if size == 0 {
                break;
            }
            references.push(bits.medium(4 * size)? + 1)?;
        }
    }
    if custom_chains {
        for _ in 0..structure.chains {
            bits.take(8)?;
        }
    }
    let (spatial, temporal) = (template.spatial, template.temporal);
    Some(Dependency {
        starts_frame,
        ends_frame,
        frame,
        spatial,
        temporal,
        indications,
        references,
        active,
        structure,
        is_new_structure,
    })
}

const fn everything(count: usize) -> u32 {
    if count >= 32 { u32::MAX } else { (1 << count) - 1 }
}

fn read_indications(bits: &mut Bits<'_>, count: usize) -> Option<Indications> {
    let mut indications = Indications::default();
    for target in (0u8..).take(count) {
        indications.set(target, bits.take(2)?);
    }
    Some(indications)
}

fn read_structure(bits: &mut Bits<'_>) -> Option<Structure> {
    let offset = bits.small(6)?;
    let count = usize::from(bits.small(5)?) + 1;
    let mut templates = Vec::new();
    let (mut spatial, mut temporal) = (0u8, 0u8);
    loop {
        if templates.len() == TEMPLATES {
            return None;
        }
        templates.push(Template { spatial, temporal, ..Template::default() });
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => break,
        }
    }
    if spatial > 7 || templates.iter().any(|template| template.temporal > 7) {
        return None;
    }
    for template in &mut templates {
        template.indications = read_indications(bits, count)?;
    }
    for template in &mut templates {
        while bits.flag()? {
            template.references.push(bits.medium(4)? + 1)?;
        }
    }
    let chains = bits.below(u32::try_from(count).ok()? + 1)?;
    if chains > 0 {
        for _ in 0..count {
            bits.below(chains)?;
        }
        for _ in &templates {
            for _ in 0..chains {
                bits.take(4)?;
            }
        }
    }
    let layers_of = |target: u8| {
        let present = templates.iter().filter(|template| template.indications.of(target) != Indication::NotPresent);
        present.fold(Target::default(), |all, template| Target {
            spatial: all.spatial.max(template.spatial),
            temporal: all.temporal.max(template.temporal),
        })
    };
    let targets = (0u8..).take(count).map(layers_of).collect();
    let mut sizes = Vec::new();
    if bits.flag()? {
        for _ in 0..=spatial {
            let (width, height) = (bits.medium(16)?, bits.medium(16)?);
            sizes.push((width.saturating_add(1), height.saturating_add(1)));
        }
    }
    Some(Structure { offset, templates, targets, chains: u8::try_from(chains).ok()?, sizes })
}

/// The descriptor with another frame number, for a receiver that knows the stream under its own numbers.
pub(crate) fn renumber(bytes: &mut [u8], frame: u16) {
    if let Some([_, high, low]) = bytes.first_chunk_mut::<3>() {
        [*high, *low] = frame.to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
