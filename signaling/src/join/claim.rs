//! Claim, then confirm: a browser's key takes a link for a short while, and spends it when the key has proved itself over the WebSocket
//! (or by `POST /api/token/confirm`). Whatever only follows links, runs their scripts or posts their forms never gets that far.

use proof::Thumbprint;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::auth::extract::SessionToken;
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::Result;
use crate::ids::{ParticipantId, SessionId};
use crate::join::context::Context;
use crate::join::redeem::{Invitation, Refused, event, invitation};
use crate::join::session::{self, New};
use crate::join::{Claim, RedeemError, Shown, store};
use crate::organization;
use crate::visit::Visit;

/// What a claim gives.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What validate would have said.
    pub invitation: Invitation,
    /// The session that the claim becomes, which nobody else has.
    pub session: SessionToken,
    /// Until when the cookie holds.
    pub expires_at: Timestamp,
    /// Until when the claim has to be confirmed; `None` when the same key has spent the link already.
    pub until: Option<Timestamp>,
}

/// Takes the link for a key. A refusal is audited as well.
///
/// # Errors
/// The database's own failures; then nothing is claimed.
pub async fn claim(app: &App, shown: &Shown, key: &Thumbprint) -> Result<std::result::Result<Claimed, Refused>> {
    let now = app.now();
    let actor = Actor::Anonymous { org: shown.org };
    // A stranger's handle leaves no trace and takes no lock.
    if db::scoped(&app.db, shown.org, async |tx| store::find(tx, shown.by).await).await?.is_none() {
        return Ok(Err(Refused::INVALID));
    }
    let until = now + app.config.join_lease;
    db::audited(&app.db, shown.org, &actor, async |tx| {
        let session = SessionToken::random(shown.org);
        if let Some(token) = store::lease(tx, shown.by, key, &session, now, until).await? {
            let invitation = invitation(tx, &token).await?;
            let expires_at = session::expiry(&invitation.visit, now);
            let claimed = Claimed { invitation, session, expires_at, until: Some(until) };
            return Ok((Ok(claimed), vec![event(EventType::TokenValidated, &token).because("CLAIMED")]));
        }
        let Some(token) = store::find(tx, shown.by).await? else {
            return Err(crate::error::Error::Inside("a token vanished".to_owned()));
        };
        // The browser that spent the link opens it again: it is let back to its session, whose cookie it may have lost.
        if let Some((session, expires_at)) = session::rekey(tx, token.id, key, session, now).await? {
            let invitation = invitation(tx, &token).await?;
            let claimed = Claimed { invitation, session, expires_at, until: None };
            return Ok((Ok(claimed), vec![event(EventType::TokenValidated, &token).because("CLAIMED_AGAIN")]));
        }
        let error = token.refusal(now);
        let practice = organization::find(tx, shown.org).await?;
        let event = event(EventType::TokenRedeemed, &token).failed(error.code().as_str());
        Ok((Err(Refused { error, practice }), vec![event]))
    })
    .await
}

/// Spends a claimed link: the key has proved itself. Whatever session the participant had before ends. `None` when the claim has lapsed
/// or the link cannot be spent any more; that is audited as well.
///
/// # Errors
/// The database's own failures; then nothing is spent.
pub async fn confirm(app: &App, claim: &Claim, context: &Context) -> Result<Option<ParticipantId>> {
    let now = app.now();
    let actor = Actor::Anonymous { org: claim.org };
    let confirmed = db::audited(&app.db, claim.org, &actor, async |tx| {
        let Some(spent) = store::confirm(tx, claim, context, now).await? else {
            let token = store::find_by_id(tx, claim.token).await?;
            let why = token.map_or(RedeemError::Invalid, |token| token.refusal(now));
            let event = Draft::new(EventType::TokenRedeemed).visit(claim.visit).subject("token", claim.token.as_uuid());
            return Ok((None, vec![event.failed(why.code().as_str())]));
        };
        let visit = crate::visit::store::get(tx, spent.visit).await?;
        let new = New {
            session: claim.session,
            secret_hash: &spent.secret_hash,
            org: claim.org,
            visit: spent.visit,
            participant: spent.participant,
            token: spent.token,
            key: Some(&claim.key),
            context,
        };
        let (_, events) = issue(tx, new, &visit, now).await?;
        Ok::<_, crate::error::Error>((Some(spent.participant), events))
    })
    .await?;
    app.metrics.note_redeem(confirmed.is_some());
    if let Some(participant) = confirmed {
        tracing::info!(visit_id = ?claim.visit, participant_id = ?participant, "a join link was redeemed");
        if let Some(room) = app.live.find(claim.visit) {
            room.supersede(participant).await;
        }
    }
    Ok(confirmed)
}

/// Writes the session of a spent token in the place of whatever sessions its participant had, and says what happened.
pub(super) async fn issue(tx: &mut Tx, new: New<'_>, visit: &Visit, now: Timestamp) -> Result<(Timestamp, Vec<Draft>)> {
    let about = |event: EventType, id: SessionId| Draft::new(event).visit(visit.id).subject("session", id.as_uuid());
    let mut events = vec![Draft::new(EventType::TokenRedeemed).visit(visit.id).subject("token", new.token.as_uuid())];
    for old in session::revoke_of_participant(tx, new.participant, "SUPERSEDED", now).await? {
        events.push(about(EventType::SessionSuperseded, old));
    }
    let expires_at = session::expiry(visit, now);
    session::insert(tx, new, now, expires_at).await?;
    events.push(about(EventType::SessionIssued, new.session));
    Ok((expires_at, events))
}
