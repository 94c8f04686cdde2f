//! Finds sagas by the last letters of their ids, by the index that `suffix.sql` tells of.

use saga_core::SagaId;
use sqlx::{AssertSqlSafe, PgPool};

use super::convert::{FIRST_ENDED, row_limit, saga_id, uuid};

/// Hexadecimal digits that are indexed.
const DIGITS: usize = 12;
/// The indexed expression, letter by letter as `suffix.sql` has it.
const INDEXED: &str = "left(reverse(id::text), 12) COLLATE \"C\"";

/// Ids that end in the given letters: open sagas first, then the finished ones, each newest first.
pub(super) async fn find(
    pool: &PgPool,
    suffix: &str,
    limit: usize,
) -> Result<Vec<SagaId>, sqlx::Error> {
    let Some((value, bits)) = SagaId::parse_suffix(suffix) else {
        return Ok(Vec::new());
    };
    let rows = if bits >= u128::BITS {
        sqlx::query("SELECT id FROM saga WHERE id = $1 LIMIT $2")
            .bind(uuid(SagaId::from_u128(value)))
            .bind(row_limit(limit))
            .fetch_all(pool)
            .await?
    } else {
        let mask = (1_u128 << bits) - 1;
        let digits = digits(value, bits);
        sqlx::query(AssertSqlSafe(statement()))
            .bind(&digits)
            // No digit comes after `f`.
            .bind(format!("{digits}g"))
            .bind(format!("{mask:0128b}"))
            .bind(format!("{value:0128b}"))
            .bind(row_limit(limit))
            .fetch_all(pool)
            .await?
    };
    rows.iter().map(|row| saga_id(row, "id")).collect()
}

/// `OFFSET 0` keeps the planner from reading the whole table instead of looking into every run. A letter is five bits and a
/// digit four, so what the index finds is compared again: as text of bits, the only form in which PostgreSQL masks 128.
pub(super) fn statement() -> String {
    format!(
        "SELECT id FROM generate_series(0, (SELECT coalesce(max(run), 0) FROM saga)) AS r (run)
         CROSS JOIN LATERAL (
             SELECT s.id, s.status FROM saga s
             WHERE s.run = r.run AND {INDEXED} >= $1 AND {INDEXED} < $2 OFFSET 0
         ) AS found
         WHERE (('x' || encode(uuid_send(id), 'hex'))::bit(128) & $3::text::bit(128)) = $4::text::bit(128)
         ORDER BY status >= {FIRST_ENDED}, id DESC LIMIT $5"
    )
}

/// The digits that the letters fix, the last one first.
fn digits(value: u128, bits: u32) -> String {
    let known = usize::try_from(bits / 4).map_or(DIGITS, |known| known.min(DIGITS));
    let all = format!("{value:032x}");
    all.chars().rev().take(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_last_ones_backwards() {
        let id = "01JD8Q3K5TQQQQQQQQ7QK3MV2A"
            .parse::<SagaId>()
            .expect("an id");
        let text = uuid(id).to_string();
        for length in 1..26 {
            let (value, bits) =
                SagaId::parse_suffix(&id.to_string()[26 - length..]).expect("letters");
            let digits: String = digits(value, bits).chars().rev().collect();
            assert!(
                text.ends_with(&digits),
                "{text} by {length} letters: {digits}"
            );
        }
    }
}
