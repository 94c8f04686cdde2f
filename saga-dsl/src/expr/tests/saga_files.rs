//! Every expression, template and pick list of the sagas that the language was designed on:
//! a trip, an order, a shipment and a laboratory report.

use serde_json::{Value, json};

use super::{Data, Types};
use crate::expr::{Budget, Expr, Template, ValueTemplate};

struct Saga {
    types: Types,
    data: Data,
    conditions: &'static [(&'static str, bool)],
    /// With the type and the value.
    texts: &'static [(&'static str, &'static str, &'static str)],
    picks: &'static [(&'static [&'static str], &'static str)],
}

impl Saga {
    fn holds(self) {
        let Self {
            types,
            data,
            conditions,
            texts,
            picks,
        } = self;
        let mut budget = Budget::default();
        for (source, expected) in conditions {
            let expr = Expr::parse(source).expect(source);
            let checked = expr.check(&types);
            assert_eq!(
                (checked.faults, checked.ty.to_string().as_str()),
                (Vec::new(), "bool"),
                "{source}"
            );
            assert_eq!(
                expr.with_types(&types).eval_bool(&data, &mut budget),
                Ok(*expected),
                "{source}"
            );
        }
        for (source, ty, expected) in texts {
            let template = Template::parse(source).expect(source);
            let checked = template.check(&types);
            assert_eq!(
                (checked.faults, checked.ty.to_string().as_str()),
                (Vec::new(), *ty),
                "{source}"
            );
            let value = template
                .with_types(&types)
                .eval(&data, &mut budget)
                .expect(source)
                .to_value();
            assert_eq!(value.to_string(), *expected, "{source}");
        }
        for (names, expected) in picks {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let template = ValueTemplate::from_pick(&names).expect("a pick");
            assert_eq!(template.check(&types).faults, [], "{names:?}");
            let expected: Value = serde_json::from_str(expected).expect("JSON");
            assert_eq!(
                template
                    .eval(&data, &mut budget)
                    .map(|found| found.to_value()),
                Ok(expected),
                "{names:?}"
            );
        }
    }
}

#[test]
fn book_trip() {
    let flight = json!({"from": "string", "to": "string", "date": "string"});
    let input = json!({
        "trip_id": "string", "customer_id": "string", "flight": flight,
        "hotel": {"city": "string", "nights": "int"}, "amount_cents": "int",
    });
    Saga {
        types: Types::of(json!({
            "input": input,
            "steps.charge_card.output": {"receipt": "string"},
            "steps.reserve_flight.output": {"confirmation": "string"},
            "steps.reserve_hotel.output": "any",
        })),
        data: Data(json!({
            "input": {"trip_id": "t-1", "customer_id": "c-1", "amount_cents": 42_000,
                      "flight": {"from": "TXL", "to": "LIS", "date": "2026-12-01"}, "hotel": {"city": "Lisbon", "nights": 3}},
            "steps": {"charge_card": {"output": {"receipt": "r-1"}}, "reserve_flight": {"output": {"confirmation": "f-1"}},
                      "reserve_hotel": {"output": {"confirmation": "h-1"}}},
        })),
        conditions: &[],
        texts: &[
            ("${input.trip_id}", "string", r#""t-1""#),
            ("${input.customer_id}", "string", r#""c-1""#),
            (
                "Trip ${input.trip_id} is booked, receipt ${steps.charge_card.output.receipt}.",
                "string",
                r#""Trip t-1 is booked, receipt r-1.""#,
            ),
            ("${steps.reserve_flight.output.confirmation}", "string", r#""f-1""#),
            ("${steps.reserve_hotel.output.confirmation}", "any", r#""h-1""#),
            ("${steps.charge_card.output.receipt}", "string", r#""r-1""#),
        ],
        picks: &[
            (
                &["customer_id", "flight"],
                r#"{"customer_id": "c-1", "flight": {"from": "TXL", "to": "LIS", "date": "2026-12-01"}}"#,
            ),
            (&["customer_id", "hotel"], r#"{"customer_id": "c-1", "hotel": {"city": "Lisbon", "nights": 3}}"#),
            (&["customer_id", "amount_cents"], r#"{"customer_id": "c-1", "amount_cents": 42000}"#),
        ],
    }
    .holds();
}

#[test]
fn fulfil_order_and_ship_order() {
    let item = json!({"sku": "string", "qty": "int", "warehouse": "string"});
    Saga {
        types: Types::of(json!({
            "input": {"order_id": "string", "customer_id": "string", "total_cents": "int", "express": "optional bool",
                      "items": [item], "speed": "string"},
            "item": item,
            "signal": {"approved": "bool", "by": "string"},
            "steps.score_fraud.output": {"score": "double"},
            "steps.approval.output": {"approved": "bool", "by": "string"},
            "steps.ship.output": {"tracking": "string"},
            "steps.book_carrier.output": {"tracking": "string"},
        }))
        .maybe_absent("steps.approval.output", "skipped when its `when` is false"),
        data: Data(json!({
            "input": {"order_id": "o-1", "customer_id": "c-1", "total_cents": 5_000, "speed": "standard",
                      "items": [{"sku": "s", "qty": 2, "warehouse": "w"}]},
            "item": {"sku": "s", "qty": 2, "warehouse": "w"},
            "signal": {"approved": true, "by": "ann"},
            "steps": {"score_fraud": {"output": {"score": 1}}, "ship": {"output": {"tracking": "z-1"}},
                      "book_carrier": {"output": {"tracking": "z-2"}}},
        })),
        conditions: &[
            ("input.total_cents > 100000 || steps.score_fraud.output.score >= 0.8", true),
            ("signal.approved", true),
        ],
        texts: &[
            ("${input.order_id}", "string", r#""o-1""#),
            ("order/${input.order_id}", "string", r#""order/o-1""#),
            (
                "${input.items}",
                "[{qty: int, sku: string, warehouse: string}]",
                r#"[{"qty":2,"sku":"s","warehouse":"w"}]"#,
            ),
            ("${has(input.express) && input.express ? 'express' : 'standard'}", "string", r#""standard""#),
            ("${steps.ship.output.tracking}", "string", r#""z-1""#),
            ("${has(steps.approval.output) ? steps.approval.output.by : 'auto'}", "string", r#""auto""#),
            ("${steps.book_carrier.output.tracking}", "string", r#""z-2""#),
        ],
        picks: &[
            (
                &["order_id", "customer_id", "items", "total_cents"],
                r#"{"order_id": "o-1", "customer_id": "c-1", "total_cents": 5000,
                    "items": [{"sku": "s", "qty": 2, "warehouse": "w"}]}"#,
            ),
            (&["item.sku", "item.qty", "item.warehouse"], r#"{"sku": "s", "qty": 2, "warehouse": "w"}"#),
            (&["customer_id", "total_cents"], r#"{"customer_id": "c-1", "total_cents": 5000}"#),
            (
                &["customer_id", "order_id", "total_cents"],
                r#"{"customer_id": "c-1", "order_id": "o-1", "total_cents": 5000}"#,
            ),
            (&["order_id", "steps.ship.output.tracking"], r#"{"order_id": "o-1", "tracking": "z-1"}"#),
            (&["order_id"], r#"{"order_id": "o-1"}"#),
            (&["order_id", "speed"], r#"{"order_id": "o-1", "speed": "standard"}"#),
            (&["order_id", "steps.book_carrier.output.tracking"], r#"{"order_id": "o-1", "tracking": "z-2"}"#),
        ],
    }
    .holds();
}

#[test]
fn lab_report() {
    Saga {
        types: Types::of(json!({
            "input": {"accession": "string", "patient_id": "string", "panel": ["string"], "collect_at": "timestamp",
                      "critical_limit": "double"},
            "signal": {"verdict": "string", "by": "string"},
            "steps.collected.output": {"barcode": "string"},
            "steps.analyse.output": {"max_value": "double", "values": ["double"], "run_id": "string"},
            "steps.verify.output": {"verdict": "string", "by": "string"},
            "steps.publish.output": {"report_id": "string"},
            "self.output": {"run_id": "string"},
            "self.key": "string",
            "saga.failure": {"code": "string"},
        }))
        .maybe_absent("self.output", "the outcome may be unknown"),
        data: Data(json!({
            "input": {"accession": "a-1", "patient_id": "p-1", "panel": ["k", "na"], "critical_limit": 6,
                      "collect_at": "2026-12-01T08:00:00+01:00"},
            "signal": {"verdict": "released", "by": "bob"},
            "steps": {"collected": {"output": {"barcode": "b-1"}},
                      "analyse": {"output": {"max_value": 6.5, "values": [6.5, 140], "run_id": "u-1"}},
                      "verify": {"output": {"by": "bob"}}, "publish": {"output": {"report_id": "x-1"}}},
            "self": {"key": "k-1"},
            "saga": {"failure": {"code": "refused"}},
        })),
        conditions: &[
            ("steps.analyse.output.max_value > input.critical_limit", true),
            ("signal.verdict in ['released', 'released_with_comment']", true),
        ],
        texts: &[
            ("${input.accession}", "string", r#""a-1""#),
            ("patient/${input.patient_id}/report/${input.accession}", "string", r#""patient/p-1/report/a-1""#),
            ("${input.collect_at}", "timestamp", r#""2026-12-01T08:00:00+01:00""#),
            ("${has(self.output) ? self.output.run_id : ''}", "string", r#""""#),
            ("${self.key}", "string", r#""k-1""#),
            ("${saga.failure.code}", "string", r#""refused""#),
            ("${steps.publish.output.report_id}", "string", r#""x-1""#),
        ],
        picks: &[
            (&["accession", "panel"], r#"{"accession": "a-1", "panel": ["k", "na"]}"#),
            (&["steps.collected.output.barcode", "panel"], r#"{"barcode": "b-1", "panel": ["k", "na"]}"#),
            (&["accession", "steps.analyse.output.max_value"], r#"{"accession": "a-1", "max_value": 6.5}"#),
            (
                &["accession", "steps.analyse.output.values", "steps.verify.output.by"],
                r#"{"accession": "a-1", "values": [6.5, 140], "by": "bob"}"#,
            ),
            (&["patient_id", "accession"], r#"{"patient_id": "p-1", "accession": "a-1"}"#),
        ],
    }
    .holds();
}
