//! "Did you mean": the candidate that was probably meant by a misspelled name.

/// The candidate nearest to `name`, if it is near enough to be a slip of the pen.
///
/// Near enough means: at most one edit for names of up to four letters, then one more for every three letters,
/// where an edit inserts, drops, replaces or swaps neighbouring letters, and case does not count. Of equally near ones the first wins.
#[must_use]
pub fn near_miss<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = letters(name)?;
    let allowed = 1 + name.len().saturating_sub(2) / 3;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let Some(other) = letters(candidate) else {
            continue;
        };
        if other.len().abs_diff(name.len()) > allowed {
            continue;
        }
        let distance = edits(&name, &other);
        // A name that shares no letter in place is a replacement, not a slip.
        let shares = distance < name.len().max(other.len());
        if distance <= allowed && shares && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Lower-case letters; `None` for names too long to be worth the quadratic comparison.
fn letters(name: &str) -> Option<Vec<char>> {
    const LONGEST: usize = 64;
    (name.len() <= LONGEST).then(|| name.chars().flat_map(char::to_lowercase).collect())
}

/// Optimal string alignment distance.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::near_miss;

    #[test]
    fn slips_are_recognised_and_other_names_are_not() {
        let cases = [
            ("strng", &["string", "int"][..], Some("string")),
            ("itn", &["string", "int"], Some("int")),
            ("Output", &["output", "status"], Some("output")),
            (
                "reserve_fligth",
                &["reserve_hotel", "reserve_flight"],
                Some("reserve_flight"),
            ),
            ("a", &["b"], None),
            ("charge", &["ship", "pick"], None),
            ("", &["a", ""], None),
            ("customer", &["customer_id"], Some("customer_id")),
        ];
        for (name, candidates, expected) in cases {
            assert_eq!(
                near_miss(name, candidates.iter().copied()),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn the_nearest_wins_then_the_first() {
        assert_eq!(
            near_miss("stepp", ["stepps", "step", "steppe"]),
            Some("stepps")
        );
        assert_eq!(
            near_miss("paymentz", ["payment", "payments"]),
            Some("payment")
        );
    }
}
