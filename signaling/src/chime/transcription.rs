//! StartMeetingTranscription and StopMeetingTranscription: read, checked, and refused. There is no transcription here, and nothing
//! pretends that there is.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chime::call::{Call, Outcome};
use crate::chime::check;
use crate::chime::error::{Fault, Kind};
use crate::chime::meetings;
use crate::chime::names::MeetingId;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StartBody {
    transcription_configuration: Option<Configuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Configuration {
    engine_transcribe_settings: Option<Map<String, Value>>,
    engine_transcribe_medical_settings: Option<Map<String, Value>>,
}

impl Configuration {
    fn check(&self) -> Result<(), Fault> {
        match (&self.engine_transcribe_settings, &self.engine_transcribe_medical_settings) {
            (Some(_), None) => Ok(()),
            (None, Some(medical)) => {
                let missing =
                    ["LanguageCode", "Specialty", "Type"].into_iter().find(|name| !medical.contains_key(*name));
                missing.map_or(Ok(()), |name| {
                    Err(Kind::BadRequest.with(format!("EngineTranscribeMedicalSettings.{name} is required")))
                })
            }
            _ => Err(Kind::BadRequest.with(
                "TranscriptionConfiguration must have EngineTranscribeSettings or EngineTranscribeMedicalSettings",
            )),
        }
    }
}

/// StartMeetingTranscription.
pub(crate) async fn start(call: &Call, meeting: MeetingId) -> Outcome {
    let body: StartBody = check::body(&call.body)?;
    check::required("TranscriptionConfiguration", body.transcription_configuration)?.check()?;
    meetings::look_up(call, meeting).await?;
    Err(Kind::Unprocessable.with("This server does not transcribe"))
}

/// StopMeetingTranscription.
pub(crate) async fn stop(call: &Call, meeting: MeetingId) -> Outcome {
    meetings::look_up(call, meeting).await?;
    Err(Kind::Unprocessable.with("No transcription runs: this server does not transcribe"))
}
