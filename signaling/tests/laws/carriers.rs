//! Carriers against servers that speak the real protocols: AWS as moto has it, and a mail server with STARTTLS and with TLS from the start.

use std::net::{TcpListener as StdListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use signaling::notice::Medium;
use signaling::notice::carrier::{Body, Carriers, Failure, Message};
use signaling::notice::config::{EmailKind, NoticeConfig, SmsKind, SmtpTls};
use signaling::notice::reach::{Email, Phone};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;
use wire::Redacted;

/// A program of the environment that `make test` makes. Its absence fails the test: a carrier that was not tried is untested.
fn program(name: &str) -> PathBuf {
    let given = wire::settings::env("ANTEROOM_TEST_VENV").map(PathBuf::from);
    let venv = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/venv"));
    let program = venv.join("bin").join(name);
    assert!(program.exists(), "no {}: run `make test`, or set ANTEROOM_TEST_VENV", program.display());
    program
}

/// A server of another program; it ends with the test.
struct Server {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(folder: TempDir, command: impl Fn(u16) -> Command) -> Self {
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = command(port);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, port, folder };
        // A minute, in steps of 50 ms: these programs tell nobody that they listen.
        let listens = (0..1200).any(|_| {
            let answers = TcpStream::connect(("127.0.0.1", port)).is_ok();
            if !answers {
                std::thread::sleep(Duration::from_millis(50));
            }
            answers
        });
        assert!(listens, "the server does not listen");
        server
    }

    fn moto() -> Self {
        Self::start(tempfile::tempdir().unwrap(), |port| {
            let mut command = Command::new(program("moto_server"));
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        })
    }

    /// A mail server with a certificate for `localhost`, which keeps what it is sent in a Maildir.
    fn mail(tls: SmtpTls) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let maildir = folder.path().join("mail");
        Self::start(folder, |port| {
            let mut command = Command::new(program("python"));
            command.args([
                "-m",
                "aiosmtpd",
                "-n",
                "-l",
                &format!("127.0.0.1:{port}"),
                "-c",
                "aiosmtpd.handlers.Mailbox",
            ]);
            let names = match tls {
                SmtpTls::Implicit => Some(("--smtpscert", "--smtpskey")),
                SmtpTls::Starttls => Some(("--tlscert", "--tlskey")),
                SmtpTls::None => None,
            };
            if let Some((cert_name, key_name)) = names {
                command.arg(cert_name).arg(&cert).arg(key_name).arg(&key);
            }
            command.arg(&maildir);
            command
        })
    }

    fn received(&self) -> Vec<String> {
        let new = self.folder.path().join("mail/new");
        let Ok(files) = std::fs::read_dir(new) else { return Vec::new() };
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }
}

/// Passes everything on to a server and keeps what clients said.
async fn listening_in(port: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = heard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                    to_server.write_all(&buffer[..count]).await.unwrap();
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    (own, heard)
}

fn sms(to: &str) -> Message {
    let text = "Our practice: you have a visit. Reply STOP to opt out.".to_owned();
    Message { id: Uuid::new_v4(), body: Body::Sms { to: Phone::parse(to).unwrap(), text: Redacted::new(text) } }
}

fn email() -> Message {
    Message {
        id: Uuid::new_v4(),
        body: Body::Email {
            to: Email::parse("jane@example.com").unwrap(),
            from_name: "Praxis Zoë".to_owned(),
            subject: Redacted::new("Your visit at Praxis Zoë".to_owned()),
            text: Redacted::new("Hello,\n\nsee https://visits.example.org/m/AbCdEfGhJkL".to_owned()),
            html: Redacted::new("<p>Hello</p>".to_owned()),
            calendar: Some((
                Redacted::new("BEGIN:VCALENDAR\r\nMETHOD:PUBLISH\r\nEND:VCALENDAR\r\n".to_owned()),
                "PUBLISH",
            )),
        },
    }
}

fn aws(port: u16) -> NoticeConfig {
    NoticeConfig {
        sms: SmsKind::Sns,
        sms_baa: true,
        email: EmailKind::Ses,
        email_baa: true,
        email_from: "visits@clinic.example.org".to_owned(),
        aws_region: "us-east-1".to_owned(),
        aws_access_key_id: "test".to_owned(),
        aws_secret_access_key: Redacted::new("moto-aws-secret".to_owned()),
        aws_endpoint: format!("http://127.0.0.1:{port}"),
        ..NoticeConfig::default()
    }
}

#[tokio::test]
async fn text_messages_go_through_sns_and_say_no_more_than_they_should() {
    let moto = Server::moto();
    let (port, heard) = listening_in(moto.port).await;
    let carriers = Carriers::open(&aws(port)).unwrap();
    let sns = carriers.find(Medium::Sms).unwrap();
    let message = sms("+15551231234");
    let id = sns.send(&message).await.unwrap();
    assert!(Uuid::parse_str(&id).is_ok(), "SNS's own id: {id}");
    assert_ne!(id, message.id.to_string());
    let said = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    let body = said.split("\r\n\r\n").nth(1).unwrap();
    for part in ["Action=Publish", "PhoneNumber=%2B15551231234", "Transactional", "Reply%20STOP%20to%20opt%20out."] {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(!said.contains("moto-aws-secret"), "the secret signs and does not travel");
    // A server that is away, and a number that SNS does not take.
    let gone = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = Carriers::open(&aws(gone)).unwrap();
    assert_eq!(away.find(Medium::Sms).unwrap().send(&message).await, Err(Failure::Away));
    assert_eq!(sns.send(&email()).await, Err(Failure::Refused), "an e-mail is no text message");
}

#[tokio::test]
async fn e_mail_goes_through_ses_as_one_mime_message() {
    let moto = Server::moto();
    let (port, heard) = listening_in(moto.port).await;
    let carriers = Carriers::open(&aws(port)).unwrap();
    let ses = carriers.find(Medium::Email).unwrap();
    // moto, as SES, sends for identities that it knows alone.
    assert_eq!(ses.send(&email()).await, Err(Failure::Refused), "an address that was never verified");
    let identity = r#"{"EmailIdentity": "visits@clinic.example.org"}"#;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", moto.port)).await.unwrap();
    let request = format!(
        "POST /v2/email/identities HTTP/1.1\r\nHost: email.us-east-1.amazonaws.com\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20261121/us-east-1/ses/aws4_request, SignedHeaders=host, Signature=0\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{identity}",
        identity.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let id = ses.send(&email()).await.unwrap();
    assert!(!id.is_empty());
    let said = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(said.contains("POST /v2/email/outbound-emails") && said.contains("\"Raw\""), "{said}");
}

fn mail_config(server: &Server, tls: SmtpTls) -> NoticeConfig {
    NoticeConfig {
        email: EmailKind::Smtp,
        email_baa: true,
        email_from: "visits@clinic.example.org".to_owned(),
        smtp_host: "localhost".to_owned(),
        smtp_port: server.port,
        smtp_tls: tls,
        smtp_ca_file: Some(server.folder.path().join("cert.pem")),
        ..NoticeConfig::default()
    }
}

async fn send_mail(config: &NoticeConfig) -> Result<String, Failure> {
    Carriers::open(config).unwrap().find(Medium::Email).unwrap().send(&email()).await
}

#[tokio::test]
async fn e_mail_goes_to_a_mail_server_over_tls_alone() {
    for tls in [SmtpTls::Starttls, SmtpTls::Implicit] {
        let server = Server::mail(tls);
        let config = mail_config(&server, tls);
        send_mail(&config).await.unwrap();
        let received = server.received();
        assert_eq!(received.len(), 1, "{tls:?}");
        let mail = &received[0];
        for part in [
            "To: jane@example.com",
            "<visits@clinic.example.org>",
            "multipart/alternative",
            "text/calendar; charset=utf-8; method=PUBLISH",
            "visit.ics",
            "METHOD:PUBLISH",
            "https://visits.example.org/m/AbCdEfGhJkL",
        ] {
            assert!(mail.contains(part), "{part} in {mail}");
        }
        // Nobody trusted has signed it, as far as the system knows: nothing is sent.
        let doubting = NoticeConfig { smtp_ca_file: None, ..config };
        assert_eq!(send_mail(&doubting).await, Err(Failure::Away), "{tls:?}");
        assert_eq!(server.received().len(), 1);
    }
    // A server that offers no TLS is sent nothing either.
    let plain = Server::mail(SmtpTls::None);
    let config = NoticeConfig { smtp_ca_file: None, ..mail_config(&plain, SmtpTls::Starttls) };
    assert_eq!(send_mail(&config).await, Err(Failure::Away));
    assert!(plain.received().is_empty());
}
