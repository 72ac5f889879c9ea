//! The program with its own filters taken away: a door to PostgreSQL that rewrites each statement on the wire, so that no
//! `org_id = …` of a query holds anybody back. What is still refused is refused by row level security alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// The first bytes of a connection that asks for TLS or GSS instead of beginning.
const ASKS_FOR_SECRECY: [u32; 2] = [80_877_103, 80_877_104];

/// The door. It is open as long as this lives.
#[derive(Debug)]
pub(crate) struct Door {
    folder: tempfile::TempDir,
    rewritten: Arc<AtomicU64>,
}

impl Door {
    /// Opens the door in front of the server of `url`.
    pub(crate) fn open(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let behind = PathBuf::from(url.split("host=").nth(1).unwrap()).join(".s.PGSQL.5432");
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let rewritten = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&rewritten);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, count) = (UnixStream::connect(&behind).await.unwrap(), Arc::clone(&count));
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                tokio::spawn(async move { pass(&mut from_client, &mut to_server, &count).await });
            }
        });
        Self { folder, rewritten }
    }

    /// The same database, through the door.
    pub(crate) fn url(&self, url: &str) -> String {
        format!("{}host={}", url.split("host=").next().unwrap(), self.folder.path().display())
    }

    /// Filters that were taken away so far.
    pub(crate) fn rewritten(&self) -> u64 {
        self.rewritten.load(Ordering::Relaxed)
    }
}

/// Hands on what a client says: the untagged messages of the beginning, then tagged ones.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    count: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await?;
        to.write_u32(length).await?;
        to.write_all(&body).await?;
        let version = u32::from_be_bytes(body[..4].try_into().unwrap());
        if !ASKS_FOR_SECRECY.contains(&version) {
            break;
        }
    }
    loop {
        let tag = from.read_u8().await?;
        let length = from.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await?;
        // Parse: the statement's name, its text, the types of its parameters.
        if tag == b'P' {
            body = rewrite(&body, count);
        }
        to.write_u8(tag).await?;
        to.write_u32(u32::try_from(body.len() + 4).unwrap()).await?;
        to.write_all(&body).await?;
    }
}

fn rewrite(body: &[u8], count: &AtomicU64) -> Vec<u8> {
    let mut parts = body.splitn(3, |byte| *byte == 0);
    let (name, text, rest) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (text, taken) = unfilter(std::str::from_utf8(text).unwrap());
    count.fetch_add(taken, Ordering::Relaxed);
    [name, &[0], text.as_bytes(), &[0], rest].concat()
}

/// The statement with each comparison of an organisation's id made true, and how many there were. The parameter stays used, and typed.
fn unfilter(text: &str) -> (String, u64) {
    let text_without_own = text.replace("org_id = current_org()", "org_id IS NOT NULL");
    let mut taken = u64::from(text_without_own != text);
    let mut out = String::new();
    let mut rest = text_without_own.as_str();
    while let Some((before, after)) = rest.split_once("org_id = $") {
        let digits = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let (number, tail) = after.split_at(digits);
        out += &format!("{before}org_id IS NOT NULL AND (${number}::uuid IS NULL OR true)");
        taken += 1;
        rest = tail;
    }
    (out + rest, taken)
}

#[test]
fn a_filter_is_taken_away_and_nothing_else() {
    let (text, taken) = unfilter("SELECT 1 FROM visit v WHERE v.org_id = $12 AND v.visit_id = $1");
    let expected =
        "SELECT 1 FROM visit v WHERE v.org_id IS NOT NULL AND ($12::uuid IS NULL OR true) AND v.visit_id = $1";
    assert_eq!((text.as_str(), taken), (expected, 1));
    let insert = "INSERT INTO visit (org_id) VALUES ($1)";
    assert_eq!(unfilter(insert), (insert.to_owned(), 0));
}
