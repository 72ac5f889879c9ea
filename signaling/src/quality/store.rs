//! SQL of quality samples: many at once in, a visit's out, old ones away.

use sqlx::PgPool;
use uuid::Uuid;
use wire::{ParticipantId, VisitId};

use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;
use crate::quality::{Measured, Sample};

/// Rows that one deletion takes: few enough that nobody waits for its locks.
const SWEEP_ROWS: i64 = 5_000;

/// Writes samples of one organisation in one statement. A second one of the same instant is left out.
pub(crate) async fn insert(tx: &mut Tx, org: OrgId, samples: &[(VisitId, Sample)]) -> Result<()> {
    let mut rows = Columns::default();
    for (visit, sample) in samples {
        rows.push(*visit, sample);
    }
    sqlx::query!(
        "INSERT INTO quality_sample (org_id, visit_id, participant_id, at, bars, rtt_ms, loss_up, loss_down, jitter_ms,
             kbits_up, kbits_down, target_kbits, freezes, frames_decoded)
         SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::timestamptz[], $5::smallint[], $6::integer[], $7::smallint[],
             $8::smallint[], $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::bigint[])
         ON CONFLICT DO NOTHING",
        org.as_uuid(),
        &rows.visits,
        &rows.participants,
        &rows.at,
        &rows.bars,
        &rows.rtt_ms as &[Option<i32>],
        &rows.loss_up,
        &rows.loss_down,
        &rows.jitter_ms,
        &rows.kbits_up,
        &rows.kbits_down,
        &rows.target_kbits as &[Option<i32>],
        &rows.freezes as &[Option<i32>],
        &rows.frames_decoded as &[Option<i64>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The samples of a visit, oldest first, at most `limit`.
pub(crate) async fn of_visit(tx: &mut Tx, visit: VisitId, limit: i64) -> Result<Vec<Sample>> {
    let rows = sqlx::query!(
        "SELECT participant_id, at, bars, rtt_ms, loss_up, loss_down, jitter_ms, kbits_up, kbits_down, target_kbits, freezes,
             frames_decoded
         FROM quality_sample WHERE visit_id = $1 ORDER BY at, participant_id LIMIT $2",
        visit.as_uuid(),
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Sample {
            participant: ParticipantId::from_uuid(row.participant_id),
            at: row.at,
            // The table's checks keep every value within its type.
            measured: Measured {
                bars: u8::try_from(row.bars).unwrap_or(0),
                rtt_ms: row.rtt_ms.map(i32::unsigned_abs),
                loss_up: row.loss_up.unsigned_abs(),
                loss_down: row.loss_down.unsigned_abs(),
                jitter_ms: row.jitter_ms.unsigned_abs(),
                kbits_up: row.kbits_up.unsigned_abs(),
                kbits_down: row.kbits_down.unsigned_abs(),
                target_kbits: row.target_kbits.map(i32::unsigned_abs),
                freezes: row.freezes.map(i32::unsigned_abs),
                frames_decoded: row.frames_decoded.map(i64::unsigned_abs),
            },
        })
        .collect())
}

/// Forgets samples older than `before`, of every organisation, a bounded number of them: the number that went.
pub(crate) async fn forget(pool: &PgPool, before: Timestamp) -> Result<u64> {
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep_quality_before', $1::timestamptz::text, true) AS set", before)
        .fetch_one(&mut *tx)
        .await?;
    let gone = sqlx::query!(
        "DELETE FROM quality_sample WHERE ctid = ANY (ARRAY(SELECT ctid FROM quality_sample WHERE at < $1 LIMIT $2))",
        before,
        SWEEP_ROWS
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(gone.rows_affected())
}

/// True when [`forget`] should be asked again.
pub(crate) const fn is_more(gone: u64) -> bool {
    gone >= SWEEP_ROWS.unsigned_abs()
}

/// The arrays that PostgreSQL makes rows of.
#[derive(Default)]
struct Columns {
    visits: Vec<Uuid>,
    participants: Vec<Uuid>,
    at: Vec<Timestamp>,
    bars: Vec<i16>,
    rtt_ms: Vec<Option<i32>>,
    loss_up: Vec<i16>,
    loss_down: Vec<i16>,
    jitter_ms: Vec<i32>,
    kbits_up: Vec<i32>,
    kbits_down: Vec<i32>,
    target_kbits: Vec<Option<i32>>,
    freezes: Vec<Option<i32>>,
    frames_decoded: Vec<Option<i64>>,
}

impl Columns {
    fn push(&mut self, visit: VisitId, Sample { participant, at, measured }: &Sample) {
        self.visits.push(visit.as_uuid());
        self.participants.push(participant.as_uuid());
        self.at.push(*at);
        self.bars.push(i16::from(measured.bars.min(4)));
        self.rtt_ms.push(measured.rtt_ms.map(signed));
        self.loss_up.push(permille(measured.loss_up));
        self.loss_down.push(permille(measured.loss_down));
        self.jitter_ms.push(signed(measured.jitter_ms));
        self.kbits_up.push(signed(measured.kbits_up));
        self.kbits_down.push(signed(measured.kbits_down));
        self.target_kbits.push(measured.target_kbits.map(signed));
        self.freezes.push(measured.freezes.map(signed));
        self.frames_decoded.push(measured.frames_decoded.map(|frames| i64::try_from(frames).unwrap_or(i64::MAX)));
    }
}

fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn permille(value: u16) -> i16 {
    i16::try_from(value.min(1_000)).unwrap_or(1_000)
}
