//! The words that a new practice begins with, one text for each type, and Georgia's. A practice publishes its own as later versions.

use crate::consent::{ConsentType, Purpose};

/// A text as it ships.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What is agreed to.
    pub kind: ConsentType,
    /// For the people of one state.
    pub state: Option<&'static str>,
    /// For a recording that is not for the patient's own care.
    pub purpose: Option<Purpose>,
    /// In plain words.
    pub body: &'static str,
}

/// Version 1 of each type in English.
pub const SHIPPED: [Shipped; 6] = [
    Shipped { kind: ConsentType::GeneralTelehealth, state: None, purpose: None, body: GENERAL },
    Shipped { kind: ConsentType::Hipaa, state: None, purpose: None, body: HIPAA },
    Shipped {
        kind: ConsentType::Recording,
        state: None,
        purpose: None,
        body: crate::organization::RECORDING_CONSENT_V1,
    },
    Shipped { kind: ConsentType::StateSpecific, state: Some("GA"), purpose: None, body: GEORGIA },
    Shipped { kind: ConsentType::Recording, state: None, purpose: Some(Purpose::Training), body: TRAINING },
    Shipped { kind: ConsentType::Recording, state: None, purpose: Some(Purpose::QualityAssurance), body: QUALITY },
];

const GENERAL: &str = "\
You are asked to agree to be seen by video.

What it is: you and your clinician talk over a secure video connection. You can also come to the practice instead.

What it cannot do: your clinician cannot touch you or listen to your heart. If that is needed, you will be asked to come in.

Your rights: you can say no, and you can stop at any time. Your other care does not change because of it.

If you are in danger: a video visit is not for emergencies. Call 911. Tell us at the start of each visit where you are, so that we can \
send help there.

What can go wrong: the connection can break, and somebody near you could listen. Choose a private place. If the connection breaks, we \
call you.";

const HIPAA: &str = "\
This is about your health information in a video visit.

Who sees it: the people of this practice who take part in your care, and those who have to keep its records.

How it is protected: picture and sound are encrypted on their way and pass through our server, which does not keep them unless you agree \
to a recording. Notes are stored encrypted.

Your rights: you can ask what we know about you, ask for a copy, ask us to correct it, and ask who has seen it. You can complain to us or \
to the government, and nothing happens to you for it.

What remains: no connection is perfectly safe, and we cannot guard the room that you are in or the device that you use.";

const GEORGIA: &str = "\
You are in Georgia, so there are some things to know before a video visit.

Who treats you: your clinician is allowed to practise in Georgia. You can ask for their name, their licence and how to reach them.

Your choice: you can ask to be seen in person. You can say no to a video visit or stop it, and you keep your right to care.

In an emergency: tell us the address where you are now. If something happens, we call help to that address. If you are in danger, call 911.

What can go wrong: technology can fail, and information can be seen by somebody who should not see it. We tell you if we learn of that.

After the visit: you can ask how to get care when this clinician is not there, and for a copy of what was written down.";

const TRAINING: &str = "\
May a recording of your visit be used for teaching?

Who sees it: clinicians and students whom this practice teaches, inside the practice.

This is apart from your care. If you say no, nothing about your care changes, and a recording for your care does not need this.

You can take this back at any time. From then on the recording is not shown to anybody for teaching.";

const QUALITY: &str = "\
May a recording of your visit be used to check how well we work?

Who sees it: the few people of this practice who check visits, so that we do better.

This is apart from your care. If you say no, nothing about your care changes, and a recording for your care does not need this.

You can take this back at any time. From then on the recording is not used for such checks.";
