//! `NoticeConfig`: by whom messages are carried, and when they are sent. Table `[notices]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use wire::{Redacted, settings};

use crate::config::Profile;
use crate::error::Error;
use crate::notice::plan::Leads;
use crate::notice::reach::Email;
use crate::webhook::sign::Secret;

/// The longest `public_url` with which every text message fits.
pub(crate) const LONGEST_ORIGIN: usize = 70;

/// Settings of notices: table `[notices]` of the file, variables `ANTEROOM_NOTICES_<FIELD>` or `ANTEROOM_<FIELD>`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoticeConfig {
    /// Who carries text messages: `none`, `sns` (AWS), or `outbox`, the development page. Default `none`; `anteroom dev`: `outbox`.
    pub sms: SmsKind,
    /// The operator has a business associate agreement with that provider. Without it the server does not start.
    pub sms_baa: bool,
    /// Who carries e-mail: `none`, `smtp`, `ses` (AWS), or `outbox`. Default `none`; `anteroom dev`: `outbox`.
    pub email: EmailKind,
    /// The operator has such an agreement with that provider, or runs the mail server.
    pub email_baa: bool,
    /// The address that e-mail comes from, such as `visits@clinic.example.org`.
    pub email_from: String,
    /// The mail server's name.
    pub smtp_host: String,
    /// Its port. Default 587; 465 goes with `smtp_tls = "implicit"`.
    pub smtp_port: u16,
    /// `starttls`, `implicit`, or `none`, which is for development alone. Default `starttls`.
    pub smtp_tls: SmtpTls,
    /// Certificates (PEM) of a private authority that signed the mail server's, trusted instead of the system's.
    pub smtp_ca_file: Option<PathBuf>,
    /// The login, where the mail server wants one.
    pub smtp_user: Option<String>,
    /// Its password.
    pub smtp_password: Option<Redacted<String>>,
    /// A file with that password, instead.
    pub smtp_password_file: Option<PathBuf>,
    /// Where AWS is asked, such as `us-east-1`.
    pub aws_region: String,
    /// An access key that may send: `sns:Publish`, `ses:SendRawEmail`.
    pub aws_access_key_id: String,
    /// Its secret.
    pub aws_secret_access_key: Redacted<String>,
    /// Another address of the service, such as an endpoint inside a private network. Default AWS's own.
    pub aws_endpoint: String,
    /// The number that text messages come from, where the account has several.
    pub sns_origination_number: Option<String>,
    /// The SES configuration set that reports deliveries.
    pub ses_configuration_set: Option<String>,
    /// Topics whose news are taken at `/webhooks/ses` and `/webhooks/sms`, comma-separated in the environment. Default none.
    #[serde(deserialize_with = "crate::config::list")]
    pub sns_topics: Vec<String>,
    /// Hosts that signing certificates of such news may come from. Default `sns.<aws_region>.amazonaws.com`.
    #[serde(deserialize_with = "crate::config::list")]
    pub sns_certificate_hosts: Vec<String>,
    /// What other providers sign their news with (`whsec_...`, Standard Webhooks), taken at `/webhooks/standard`.
    pub delivery_secret: Option<Redacted<String>>,
    /// How long before a visit its reminder is sent. Default `24h`.
    #[serde(with = "humantime_serde")]
    pub reminder_lead: Duration,
    /// How long before a visit its link is sent. Default `30m`.
    #[serde(with = "humantime_serde")]
    pub link_lead: Duration,
    /// Planned text messages to one number in a calendar day of that person. Default 1.
    pub sms_per_day: u32,
    /// Those in seven days. Default 3.
    pub sms_per_week: u32,
    /// How long after a failed attempt a message is tried again; each further wait is three times as long, up to an hour. Default `30s`.
    #[serde(with = "humantime_serde")]
    pub notice_retry: Duration,
    /// How old a message may become before it is given up. Default `2h`.
    #[serde(with = "humantime_serde")]
    pub notice_give_up: Duration,
}

/// Who carries text messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsKind {
    /// Nobody.
    None,
    /// The development page.
    Outbox,
    /// AWS SNS, which sends through AWS End User Messaging.
    Sns,
}

/// Who carries e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailKind {
    /// Nobody.
    None,
    /// The development page.
    Outbox,
    /// A mail server.
    Smtp,
    /// AWS SES.
    Ses,
}

/// How the connection to the mail server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// From the first byte on.
    Implicit,
    /// After a greeting; a server that does not offer it is sent nothing.
    Starttls,
    /// Not at all.
    None,
}

impl Default for NoticeConfig {
    fn default() -> Self {
        Self {
            sms: SmsKind::None,
            sms_baa: false,
            email: EmailKind::None,
            email_baa: false,
            email_from: String::new(),
            smtp_host: String::new(),
            smtp_port: 587,
            smtp_tls: SmtpTls::Starttls,
            smtp_ca_file: None,
            smtp_user: None,
            smtp_password: None,
            smtp_password_file: None,
            aws_region: String::new(),
            aws_access_key_id: String::new(),
            aws_secret_access_key: Redacted::new(String::new()),
            aws_endpoint: String::new(),
            sns_origination_number: None,
            ses_configuration_set: None,
            sns_topics: Vec::new(),
            sns_certificate_hosts: Vec::new(),
            delivery_secret: None,
            reminder_lead: Duration::from_secs(24 * 3600),
            link_lead: Duration::from_secs(30 * 60),
            sms_per_day: 1,
            sms_per_week: 3,
            notice_retry: Duration::from_secs(30),
            notice_give_up: Duration::from_secs(2 * 3600),
        }
    }
}

impl NoticeConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &[
        "sms",
        "sms_baa",
        "email",
        "email_baa",
        "email_from",
        "smtp_host",
        "smtp_port",
        "smtp_tls",
        "smtp_ca_file",
        "smtp_user",
        "smtp_password",
        "smtp_password_file",
        "aws_region",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_endpoint",
        "sns_origination_number",
        "ses_configuration_set",
        "sns_topics",
        "sns_certificate_hosts",
        "delivery_secret",
        "reminder_lead",
        "link_lead",
        "sms_per_day",
        "sms_per_week",
        "notice_retry",
        "notice_give_up",
    ];

    /// Defaults, then the file, then the environment. [`validate`](Self::validate) comes when the profile is known.
    ///
    /// # Errors
    /// When a value does not fit its field.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        settings::load("notices", Self::FIELDS, file, env).map_err(|error| Error::Settings(error.to_string()))
    }

    /// Both channels go to the development page.
    #[must_use]
    pub fn outbox() -> Self {
        Self { sms: SmsKind::Outbox, email: EmailKind::Outbox, ..Self::default() }
    }

    /// When things are sent.
    #[must_use]
    pub const fn leads(&self) -> Leads {
        Leads { reminder: self.reminder_lead, link: self.link_lead }
    }

    /// Hosts of signing certificates.
    #[must_use]
    pub fn certificate_hosts(&self) -> Vec<String> {
        if self.sns_certificate_hosts.is_empty() {
            return vec![format!("sns.{}.amazonaws.com", self.aws_region)];
        }
        self.sns_certificate_hosts.clone()
    }

    /// The password of the mail server, from the setting or its file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn smtp_secret(&self) -> Result<Option<Redacted<String>>, Error> {
        match (&self.smtp_password, &self.smtp_password_file) {
            (Some(password), _) => Ok(Some(password.clone())),
            (None, Some(file)) => Ok(Some(Redacted::new(std::fs::read_to_string(file)?.trim_end().to_owned()))),
            (None, None) => Ok(None),
        }
    }

    /// Says which setting cannot be used.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub fn validate(&self, profile: Profile, public_url: Option<&str>) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Settings(text.to_owned()));
        let is_production = profile == Profile::Production;
        if is_production && (self.sms == SmsKind::Outbox || self.email == EmailKind::Outbox) {
            return refuse("`sms` and `email` cannot be `outbox` in production: that page shows join links to anybody");
        }
        if self.sms == SmsKind::Sns && !self.sms_baa {
            return refuse(
                "`sms` names an outside provider: sign a business associate agreement with it and say `sms_baa = true`",
            );
        }
        if matches!(self.email, EmailKind::Smtp | EmailKind::Ses) && !self.email_baa {
            return refuse(
                "`email` names a provider: sign a business associate agreement with it, unless the mail server is yours, and say \
                 `email_baa = true`",
            );
        }
        if self.email == EmailKind::Smtp {
            if self.smtp_host.is_empty() {
                return refuse("`smtp_host` is missing");
            }
            if is_production && self.smtp_tls == SmtpTls::None {
                return refuse("`smtp_tls = \"none\"` is for development: use `starttls` or `implicit`");
            }
            if self.smtp_user.is_some() != (self.smtp_password.is_some() || self.smtp_password_file.is_some()) {
                return refuse("`smtp_user` and its password go together");
            }
        }
        if matches!(self.email, EmailKind::Smtp | EmailKind::Ses) && Email::parse(&self.email_from).is_none() {
            return refuse("`email_from` must be the address that e-mail comes from");
        }
        let is_aws = self.sms == SmsKind::Sns || self.email == EmailKind::Ses;
        let keys = [&self.aws_region, &self.aws_access_key_id, self.aws_secret_access_key.reveal()];
        if is_aws && keys.iter().any(|value| value.is_empty()) {
            return refuse(
                "`aws_region`, `aws_access_key_id` and `aws_secret_access_key` are needed to send through AWS",
            );
        }
        if is_production && !self.aws_endpoint.is_empty() && !self.aws_endpoint.starts_with("https://") {
            return refuse("`aws_endpoint` must be https");
        }
        if !self.sns_topics.is_empty() && self.sns_certificate_hosts.is_empty() && self.aws_region.is_empty() {
            return refuse("`sns_topics` needs `aws_region`, from whose host signing certificates come");
        }
        if let Some(secret) = &self.delivery_secret
            && Secret::parse(secret.reveal()).is_none()
        {
            return refuse("`delivery_secret` must look like whsec_ and at least 24 bytes in base64");
        }
        if self.sms != SmsKind::None && public_url.is_some_and(|url| url.trim_end_matches('/').len() > LONGEST_ORIGIN) {
            return refuse("`public_url` is too long for text messages: 70 characters at most");
        }
        if self.link_lead >= self.reminder_lead || self.link_lead.is_zero() {
            return refuse("`link_lead` must be shorter than `reminder_lead`, and more than nothing");
        }
        if self.notice_retry.is_zero() || self.sms_per_day == 0 || self.sms_per_week == 0 {
            return refuse("`notice_retry`, `sms_per_day` and `sms_per_week` must be more than nothing");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &NoticeConfig, profile: Profile) -> String {
        config.validate(profile, None).unwrap_err().to_string()
    }

    #[test]
    fn b_01_an_outside_provider_needs_an_agreement() {
        let aws = NoticeConfig {
            aws_region: "us-east-1".to_owned(),
            aws_access_key_id: "key".to_owned(),
            aws_secret_access_key: Redacted::new("secret".to_owned()),
            email_from: "visits@clinic.example.org".to_owned(),
            smtp_host: "mail.example.org".to_owned(),
            ..NoticeConfig::default()
        };
        for profile in [Profile::Production, Profile::Development] {
            let sms = NoticeConfig { sms: SmsKind::Sns, ..aws.clone() };
            assert!(refusal(&sms, profile).contains("sms_baa"));
            NoticeConfig { sms_baa: true, ..sms }.validate(profile, None).unwrap();
            for email in [EmailKind::Smtp, EmailKind::Ses] {
                let email = NoticeConfig { email, ..aws.clone() };
                assert!(refusal(&email, profile).contains("email_baa"));
                NoticeConfig { email_baa: true, ..email }.validate(profile, None).unwrap();
            }
        }
    }

    #[test]
    fn production_has_no_outbox_and_no_open_mail() {
        assert!(refusal(&NoticeConfig::outbox(), Profile::Production).contains("outbox"));
        NoticeConfig::outbox().validate(Profile::Development, None).unwrap();
        let open = NoticeConfig {
            email: EmailKind::Smtp,
            email_baa: true,
            email_from: "a@example.org".to_owned(),
            smtp_host: "mail".to_owned(),
            smtp_tls: SmtpTls::None,
            ..NoticeConfig::default()
        };
        assert!(refusal(&open, Profile::Production).contains("smtp_tls"));
        open.validate(Profile::Development, None).unwrap();
    }

    #[test]
    fn variables_set_every_field() {
        let env = |name: &str| match name {
            "ANTEROOM_SMS" => Some("sns".to_owned()),
            "ANTEROOM_NOTICES_SMS_BAA" => Some("true".to_owned()),
            "ANTEROOM_SNS_TOPICS" => Some("arn:a, arn:b".to_owned()),
            "ANTEROOM_LINK_LEAD" => Some("20m".to_owned()),
            _ => None,
        };
        let config = NoticeConfig::load(None, env).unwrap();
        assert_eq!((config.sms, config.sms_baa, config.sns_topics.len()), (SmsKind::Sns, true, 2));
        assert_eq!(config.link_lead, Duration::from_secs(1200));
    }
}
