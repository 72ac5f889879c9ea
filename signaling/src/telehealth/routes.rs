//! The routes of the canonical API and of the older faces over it.

use crate::auth::Permission as P;
use crate::live::DoorAct;
use crate::problem::Code;
use crate::recording::{self, RecordingView};
use crate::route::{Access, Endpoint, get, patch, post};
use crate::superset::Superset;
use crate::telehealth::{door, join as seats, provider, recording as recordings, screen_share, session};
use crate::{action_face, visit};

/// `/api/v1/telehealth`: the canonical API, and `/api/aws-chime-video`, the first application's one endpoint.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    const OVER: &[Code] = &[Code::VisitFinal, Code::InvalidTransition, Code::VersionConflict];
    type Session = Superset<session::SessionView>;
    vec![
        post("/api/v1/telehealth/sessions", Access::Needs(P::ReadVisit), session::create)
            .says("The session of an appointment; planned if the body says enough")
            .takes::<session::CreateBody>()
            .answers::<Session>(201)
            .answers::<Session>(200)
            .refuses(&[Code::NotFound, Code::DoubleBooked, Code::AppointmentTaken]),
        get("/api/v1/telehealth/sessions", Access::Needs(P::ListVisits), session::list)
            .says("Sessions by start time, a page at a time; view=upcoming those to come")
            .query::<session::ListParams>()
            .answers::<Superset<session::PageView>>(200)
            .refuses(&[Code::Invalid]),
        get("/api/v1/telehealth/sessions/{id}", Access::Needs(P::ReadVisit), session::get)
            .says("One session, by its id or its appointment's")
            .query::<session::GetParams>()
            .answers::<Session>(200),
        post("/api/v1/telehealth/sessions/{id}/join", Access::Needs(P::JoinVisit), seats::join)
            .says("The caller's own place in the room, for a Chime client")
            .may_take::<seats::JoinBody>()
            .answers::<Superset<seats::JoinView>>(200)
            .refuses(&[Code::SessionEnded, Code::RoleMismatch, Code::Draining]),
        post("/api/visits/{id}/start-authenticated", Access::Needs(P::JoinVisit), seats::join)
            .says("The caller's own place in the room, by staff or portal credential")
            .may_take::<seats::JoinBody>()
            .answers::<Superset<seats::JoinView>>(200)
            .refuses(&[Code::SessionEnded, Code::RoleMismatch, Code::Draining]),
        post("/api/v1/telehealth/sessions/{id}/end", Access::Needs(P::EndVisit), session::end)
            .says("Ends a session with its links, sessions and room")
            .may_take::<session::EndBody>()
            .answers::<Session>(200)
            .refuses(OVER)
            .refuses(&[Code::IssueMissing]),
        post("/api/v1/telehealth/sessions/{id}/cancel", Access::Needs(P::CancelVisit), session::cancel)
            .says("Calls a session off")
            .may_take::<session::CancelBody>()
            .answers::<Session>(200)
            .refuses(OVER),
        post("/api/v1/telehealth/sessions/{id}/no-show", Access::Needs(P::MarkNoShow), session::no_show)
            .says("The patient did not come")
            .may_take::<session::SeenBody>()
            .answers::<Session>(200)
            .refuses(OVER),
        post("/api/v1/telehealth/sessions/{id}/reopen", Access::Needs(P::ReopenVisit), session::reopen)
            .says("Lets a session go on that broke off")
            .may_take::<session::SeenBody>()
            .answers::<Session>(200)
            .refuses(OVER)
            .refuses(&[Code::ReopenWindowOver]),
        patch("/api/v1/telehealth/sessions/{id}/status", Access::Needs(P::EndVisit), session::set_status)
            .says("Brings a state about by the command that leads there")
            .takes::<session::StatusBody>()
            .answers::<Session>(200)
            .refuses(OVER)
            .refuses(&[Code::IssueMissing, Code::ReopenWindowOver]),
        post("/api/v1/telehealth/sessions/{id}/technical-issues", Access::Needs(P::ReportIssue), session::report_issue)
            .says("Reports a technical problem, as a code")
            .takes::<visit::issue::NewIssue>()
            .answers::<Superset<visit::issue::Issue>>(201),
        post("/api/v1/telehealth/sessions/{id}/screen-share/start", Access::Needs(P::ShareScreen), screen_share::start)
            .says("A screen is shared from now on")
            .may_take::<screen_share::StartBody>()
            .answers::<Superset<screen_share::ShareView>>(200)
            .refuses(&[Code::ShareBusy, Code::InvalidTransition, Code::VisitFinal]),
        post("/api/v1/telehealth/sessions/{id}/screen-share/stop", Access::Needs(P::ShareScreen), screen_share::stop)
            .says("No screen is shared any more")
            .may_take::<recording::http::Empty>()
            .answers::<Superset<screen_share::ShareView>>(200)
            .refuses(&[Code::NotSharing]),
        post("/api/v1/telehealth/sessions/{id}/recording/start", Access::Needs(P::StartRecording), recordings::start)
            .says("Starts a recording, if everyone present has agreed")
            .may_take::<recording::http::StartBody>()
            .answers::<Superset<RecordingView>>(202)
            .refuses(&[Code::ConsentRequired, Code::AlreadyRecording]),
        post("/api/v1/telehealth/sessions/{id}/recording/stop", Access::Needs(P::StopRecording), recordings::stop)
            .says("Stops the recording; anybody inside may")
            .may_take::<recording::http::Empty>()
            .answers::<Superset<RecordingView>>(200)
            .refuses(&[Code::NotRecording]),
        get("/api/v1/telehealth/sessions/{id}/recordings", Access::Needs(P::PlayRecordings), recordings::list)
            .says("A session's recordings")
            .answers::<Superset<recording::command::RecordingList>>(200),
        post("/api/v1/telehealth/recordings/{id}/playback", Access::Needs(P::PlayRecordings), recording::http::grant)
            .says("A URL for one file and one person")
            .takes::<recording::http::PlaybackRequest>()
            .answers::<recording::http::PlaybackGrant>(200),
        post("/api/v1/telehealth/recordings/{id}/hold", Access::Needs(P::HoldRecording), recording::hold::set)
            .says("Keeps a recording beyond its time, or lifts that")
            .takes::<recording::hold::HoldBody>()
            .answers::<RecordingView>(200),
        post("/api/visits/{id}/start", Access::Public, door::start_by_token)
            .says("Spends a link without a browser's key, as far as the practice allows, and gives its holder's place")
            .may_take::<door::StartBody>()
            .answers::<seats::JoinView>(200)
            .refuses(&[
                Code::KeyRequired,
                Code::TokenInvalid,
                Code::TokenNotYetValid,
                Code::TokenInUse,
                Code::TokenAlreadyUsed,
                Code::TokenExpired,
                Code::TokenRevoked,
                Code::VisitFinal,
            ]),
        get("/api/v1/telehealth/sessions/{id}/waiting-room", Access::Needs(P::ReadWaitingRoom), door::waiting_room)
            .says("Who waits, longest first")
            .answers::<Superset<door::WaitingRoomView>>(200),
        post("/api/v1/telehealth/sessions/{id}/admit", Access::Needs(P::HostVisit), door::at_door(DoorAct::Admit))
            .says("Lets somebody in who waits; the patient, when nobody is named")
            .may_take::<door::WhoBody>()
            .answers::<Session>(200)
            .refuses(&[Code::NotWaiting, Code::ConsentRequired, Code::VisitFinal]),
        post(
            "/api/v1/telehealth/sessions/{id}/waiting-room/deny",
            Access::Needs(P::HostVisit),
            door::at_door(DoorAct::Deny),
        )
        .says("Turns somebody away who waits")
        .may_take::<door::WhoBody>()
        .answers::<Session>(200)
        .refuses(&[Code::NotWaiting, Code::VisitFinal]),
        post(
            "/api/v1/telehealth/sessions/{id}/waiting-room/return",
            Access::Needs(P::HostVisit),
            door::at_door(DoorAct::SendBack),
        )
        .says("Sends somebody who is inside back into the waiting room")
        .may_take::<door::WhoBody>()
        .answers::<Session>(200)
        .refuses(&[Code::VisitFinal]),
        post(
            "/api/v1/telehealth/sessions/{id}/waiting-room/leave",
            Access::Needs(P::ReadVisit),
            door::at_door(DoorAct::Leave),
        )
        .says("Somebody stops waiting")
        .may_take::<door::WhoBody>()
        .answers::<Session>(200)
        .refuses(&[Code::NotWaiting]),
        post("/api/v1/telehealth/sessions/{id}/ice-restart", Access::Needs(P::JoinVisit), door::restart_ice)
            .says("A connected client looks for another way to the media node; one's own, when nobody is named")
            .may_take::<door::WhoBody>()
            .answers_nothing(202)
            .refuses(&[Code::Invalid]),
        post("/api/v1/telehealth/sessions/{id}/start", Access::Needs(P::HostVisit), door::start)
            .says("Begins a session; the patient who waits is let in by that")
            .may_take::<session::SeenBody>()
            .answers::<Session>(200)
            .refuses(OVER)
            .refuses(&[Code::ConsentRequired, Code::NotWaiting]),
        post("/api/v1/telehealth/sessions/{id}/tokens", Access::Needs(P::IssueLinks), door::tokens)
            .says("A link and its token for one person")
            .takes::<door::TokenBody>()
            .answers::<Superset<crate::join::http::LinkView>>(201)
            .refuses(&[Code::VisitFinal]),
        get("/api/v1/telehealth/providers/status", Access::Needs(P::ReadProviderStatus), provider::status)
            .says("How the media provider is")
            .answers::<Superset<provider::StatusView>>(200),
        get("/api/v1/telehealth/providers/capabilities", Access::Needs(P::ReadProviderStatus), provider::capabilities)
            .says("What the media provider can do")
            .answers::<Superset<provider::CapabilitiesView>>(200),
        post("/api/aws-chime-video", Access::Caller, action_face::act)
            .says("create-meeting, create-attendee or delete-meeting")
            .takes::<action_face::ActionBody>()
            .answers::<action_face::ActionView>(200)
            .refuses(&[
                Code::NotFound,
                Code::DoubleBooked,
                Code::SessionEnded,
                Code::VisitFinal,
                Code::InvalidTransition,
            ]),
    ]
}
