//! What an organisation decides for itself: columns of its row, each with a default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::Duration;

use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::OrgId;
use crate::join::redeem::Keyless;
use crate::problem::Code;

/// The settings of an organisation, as stored and as the API shows them. A new one is a column with a default, a field here and
/// in [`SettingsPatch`], a line in [`get`], `put` and [`SettingsPatch::apply`], and its bounds in [`Settings::validate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The scheduled patient is let in when the clinician comes; everybody else still waits for the clinician's word.
    pub auto_admit_on_clinician_join: bool,
    /// Minutes after the planned start until a patient who did not come is a no-show. 5 to 240.
    pub no_show_grace_min: i32,
    /// Minutes within which a visit that broke off can be reopened; 0 forbids it. Up to 1440.
    pub reopen_window_min: i32,
    /// Minutes that a visit which everybody left stays open. 2 to 120.
    pub empty_grace_min: i32,
    /// Minutes that somebody waits at most. 5 to 480.
    pub waiting_limit_min: i32,
    /// Minutes before the start at which the portal's button opens. 0 to 120.
    pub early_join_portal_min: i32,
    /// Minutes before the start at which a link opens. 0 to 240.
    pub early_join_link_min: i32,
    /// Minutes that a visit lasts at most, from its begin. 60 to 1440.
    pub longest_visit_min: i32,
    /// The practice's name or its clinicians' say too much of a patient: messages name neither.
    pub is_sensitive: bool,
    /// What messages call the practice instead of its name; empty: its name. At most 60 characters.
    pub notice_alias: String,
    /// Messages name the clinician by the first name.
    pub notice_clinician_name: bool,
    /// Another network or browser ends a participant's session although its key is proved.
    pub strict_binding: bool,
    /// What starts a visit without a browser's key.
    pub keyless_start: Keyless,
}

impl Settings {
    /// After so long a patient who did not come is a no-show.
    #[must_use]
    pub fn no_show_grace(&self) -> Duration {
        minutes(self.no_show_grace_min)
    }

    /// For so long a visit that broke off can be reopened.
    #[must_use]
    pub fn reopen_window(&self) -> Duration {
        minutes(self.reopen_window_min)
    }

    /// For so long a visit that everybody left stays open.
    #[must_use]
    pub fn empty_grace(&self) -> Duration {
        minutes(self.empty_grace_min)
    }

    /// For so long somebody waits.
    #[must_use]
    pub fn waiting_limit(&self) -> Duration {
        minutes(self.waiting_limit_min)
    }

    /// So long before the start the portal's button opens.
    #[must_use]
    pub fn early_join_portal(&self) -> Duration {
        minutes(self.early_join_portal_min)
    }

    /// So long before the start a link opens.
    #[must_use]
    pub fn early_join_link(&self) -> Duration {
        minutes(self.early_join_link_min)
    }

    /// So long a visit lasts at most.
    #[must_use]
    pub fn longest_visit(&self) -> Duration {
        minutes(self.longest_visit_min)
    }

    /// Refuses what the database would, by its name in the request.
    ///
    /// # Errors
    /// `INVALID`, naming the field.
    pub fn validate(&self) -> Result<()> {
        for (name, value, bounds) in [
            ("noShowGraceMin", self.no_show_grace_min, 5..=240),
            ("reopenWindowMin", self.reopen_window_min, 0..=1440),
            ("emptyGraceMin", self.empty_grace_min, 2..=120),
            ("waitingLimitMin", self.waiting_limit_min, 5..=480),
            ("earlyJoinPortalMin", self.early_join_portal_min, 0..=120),
            ("earlyJoinLinkMin", self.early_join_link_min, 0..=240),
            ("longestVisitMin", self.longest_visit_min, 60..=1440),
        ] {
            if !bounds.contains(&value) {
                let (least, most) = bounds.into_inner();
                return Err(Code::Invalid.with(format!("{name} must be {least} to {most}")).into());
            }
        }
        if self.notice_alias.chars().count() > 60 || self.notice_alias.chars().any(char::is_control) {
            return Err(Code::Invalid
                .with("noticeAlias must have at most 60 characters, and no control characters")
                .into());
        }
        Ok(())
    }
}

fn minutes(count: i32) -> Duration {
    Duration::minutes(count.into())
}

/// What is to be changed; whatever is left out stays.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of `Settings`")]
pub struct SettingsPatch {
    pub auto_admit_on_clinician_join: Option<bool>,
    pub no_show_grace_min: Option<i32>,
    pub reopen_window_min: Option<i32>,
    pub empty_grace_min: Option<i32>,
    pub waiting_limit_min: Option<i32>,
    pub early_join_portal_min: Option<i32>,
    pub early_join_link_min: Option<i32>,
    pub longest_visit_min: Option<i32>,
    pub is_sensitive: Option<bool>,
    pub notice_alias: Option<String>,
    pub notice_clinician_name: Option<bool>,
    pub strict_binding: Option<bool>,
    pub keyless_start: Option<Keyless>,
}

impl SettingsPatch {
    /// Changes `settings`, and gives the names of what is different now.
    pub fn apply(&self, settings: &mut Settings) -> Vec<&'static str> {
        fn set<T: PartialEq>(names: &mut Vec<&'static str>, name: &'static str, to: Option<T>, field: &mut T) {
            if let Some(value) = to.filter(|value| value != field) {
                *field = value;
                names.push(name);
            }
        }
        let mut names = Vec::new();
        let s = settings;
        set(
            &mut names,
            "autoAdmitOnClinicianJoin",
            self.auto_admit_on_clinician_join,
            &mut s.auto_admit_on_clinician_join,
        );
        set(&mut names, "noShowGraceMin", self.no_show_grace_min, &mut s.no_show_grace_min);
        set(&mut names, "reopenWindowMin", self.reopen_window_min, &mut s.reopen_window_min);
        set(&mut names, "emptyGraceMin", self.empty_grace_min, &mut s.empty_grace_min);
        set(&mut names, "waitingLimitMin", self.waiting_limit_min, &mut s.waiting_limit_min);
        set(&mut names, "earlyJoinPortalMin", self.early_join_portal_min, &mut s.early_join_portal_min);
        set(&mut names, "earlyJoinLinkMin", self.early_join_link_min, &mut s.early_join_link_min);
        set(&mut names, "longestVisitMin", self.longest_visit_min, &mut s.longest_visit_min);
        set(&mut names, "isSensitive", self.is_sensitive, &mut s.is_sensitive);
        set(&mut names, "noticeAlias", self.notice_alias.clone(), &mut s.notice_alias);
        set(&mut names, "noticeClinicianName", self.notice_clinician_name, &mut s.notice_clinician_name);
        set(&mut names, "strictBinding", self.strict_binding, &mut s.strict_binding);
        set(&mut names, "keylessStart", self.keyless_start, &mut s.keyless_start);
        names
    }
}

/// The settings of the organisation of this transaction.
///
/// # Errors
/// The database's own failures; an organisation that is not there.
pub async fn get(tx: &mut Tx, org: OrgId) -> Result<Settings> {
    sqlx::query_as!(
        Settings,
        r#"SELECT auto_admit_on_clinician_join, no_show_grace_min, reopen_window_min, empty_grace_min, waiting_limit_min,
             early_join_portal_min, early_join_link_min, longest_visit_min, is_sensitive,
             coalesce(notice_alias, '') AS "notice_alias!", notice_clinician_name, strict_binding,
             keyless_start AS "keyless_start: Keyless"
           FROM organization WHERE org_id = $1"#,
        org.as_uuid()
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| Error::Inside("an organisation that rows refer to is not there".to_owned()))
}

/// Makes two people who change the settings at once wait for each other.
///
/// # Errors
/// The database's own failures.
pub(super) async fn lock(tx: &mut Tx, org: OrgId) -> Result<()> {
    sqlx::query!("SELECT org_id FROM organization WHERE org_id = $1 FOR UPDATE", org.as_uuid())
        .fetch_optional(tx)
        .await?;
    Ok(())
}

/// Writes the settings.
///
/// # Errors
/// The database's own failures.
pub(super) async fn put(tx: &mut Tx, org: OrgId, settings: &Settings) -> Result<()> {
    sqlx::query!(
        "UPDATE organization SET auto_admit_on_clinician_join = $2, no_show_grace_min = $3, reopen_window_min = $4,
             empty_grace_min = $5, waiting_limit_min = $6, early_join_portal_min = $7, early_join_link_min = $8,
             longest_visit_min = $9, is_sensitive = $10, notice_alias = nullif($11, ''), notice_clinician_name = $12,
             strict_binding = $13, keyless_start = $14
         WHERE org_id = $1",
        org.as_uuid(),
        settings.auto_admit_on_clinician_join,
        settings.no_show_grace_min,
        settings.reopen_window_min,
        settings.empty_grace_min,
        settings.waiting_limit_min,
        settings.early_join_portal_min,
        settings.early_join_link_min,
        settings.longest_visit_min,
        settings.is_sensitive,
        settings.notice_alias,
        settings.notice_clinician_name,
        settings.strict_binding,
        settings.keyless_start.as_str(),
    )
    .execute(tx)
    .await?;
    Ok(())
}
