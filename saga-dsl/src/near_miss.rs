//! "Did you mean": the candidate that was probably meant by a misspelled name.

/// The candidate nearest to `name`, if it is near enough to be a slip of the pen.
///
/// A name in another case (`ReserveStock`, `reserve-stock`) is the same name. Else near enough means: at most one edit
/// for names of up to four letters, then one more for every three letters, where an edit inserts, drops, replaces or
/// swaps neighbouring letters, and case does not count. Of equally near ones the first wins.
#[must_use]
pub fn near_miss<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = letters(name)?;
    let length = name.chars().count();
    let allowed = 1 + length.saturating_sub(2) / 3;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let Some(other) = letters(candidate) else {
            continue;
        };
        let other_length = other.chars().count();
        if other_length.abs_diff(length) > allowed {
            continue;
        }
        let distance = strsim::osa_distance(&name, &other);
        // A name that shares no letter in place is a replacement, not a slip.
        let shares = distance < length.max(other_length);
        if distance <= allowed && shares && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The name in the case of saga files; `None` for names too long to be worth the quadratic comparison.
fn letters(name: &str) -> Option<String> {
    const LONGEST: usize = 64;
    (name.len() <= LONGEST).then(|| snake_case(name))
}

/// A name of another convention as saga files write it: `ReserveStock`, `reserveStock`, `reserve-stock` and
/// `Reserve stock` are `reserve_stock`, `HTTPCall` is `http_call`.
#[must_use]
pub fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, letter) in letters.iter().copied().enumerate() {
        if matches!(letter, '-' | ' ' | '.') {
            snake.push('_');
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| letters.get(at)).copied();
        let behind = letters.get(at + 1).copied();
        let after_small = before.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit());
        let last_of_capitals =
            before.is_some_and(char::is_uppercase) && behind.is_some_and(char::is_lowercase);
        if letter.is_uppercase() && (after_small || last_of_capitals) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
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
            (
                "ReserveStock",
                &["reserve_stocks", "reserve_stock"],
                Some("reserve_stock"),
            ),
            ("reserveStock", &["reserve_stock"], Some("reserve_stock")),
            ("reserve-stock", &["reserve_stock"], Some("reserve_stock")),
            ("Reserve Stock", &["reserve_stock"], Some("reserve_stock")),
            ("MaxAttempts", &["max_attempts"], Some("max_attempts")),
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
