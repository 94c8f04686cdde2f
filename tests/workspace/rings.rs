//! Rings inside a package: rooms of one floor that know each other in a circle.
//!
//! A room is a module with all that is inside it. Its imports are read from the parsed sources, `use` trees and paths
//! alike, so that no spelling hides one. What is under `#[cfg(test)]` does not count.

use std::collections::{BTreeMap, BTreeSet};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

use crate::tree::{files_ending, packages, text};

/// Rings that are there still, as `package: rooms`.
const KNOWN: &[&str] = &[
    "saga-cli: author, server",
    "saga-cli: client, operator, show",
    "saga-core: decide: forward, intervene, undo",
    "saga-dsl: codes, diagnostic",
    "saga-dsl: definition, limits",
    "saga-dsl: expr, types",
    "saga-dsl: expr: arithmetic, ast, functions",
    "saga-dsl: expr: lexer, literal",
    "saga-dsl: file: model, steps",
    "saga-dsl: outline, plan",
    "saga-engine: lane: answer, batch, dead_letters, decider, guards, intake, post, recovery, repeat, slot, starting, trouble, visits, waiting, worker",
    "saga-lab: trials: judge, world",
    "saga-participant: context, execute, handler, inbox, participant, serve, testing",
    "saga-participant: serve: amqp, dispatch, grpc, outbound, supervisor",
    "saga-server: api: breakers, convert, picture, steering",
    "saga-server: story: next, why",
    "saga-store-sqlite: chronicle, writer",
    "saga-wire-amqp: envelope, parcel, plain",
    "saga-wire-amqp: supervisor, upkeep",
];

#[test]
fn no_rooms_know_each_other_in_a_circle() {
    let mut rings = Vec::new();
    for package in packages() {
        let source = format!("{}/src/", package.folder);
        let house = House::read(&source);
        rings.extend(
            house
                .rings()
                .map(|ring| format!("{}: {ring}", package.name)),
        );
    }
    let known: BTreeSet<&str> = KNOWN.iter().copied().collect();
    let found: BTreeSet<&str> = rings.iter().map(String::as_str).collect();
    assert_eq!(
        found, known,
        "a moved definition opens a ring; one that is open leaves the list"
    );
}

type Path = Vec<String>;

/// The modules of a package, and what each of them knows of the others.
struct House {
    arrows: BTreeMap<Path, BTreeSet<Path>>,
}

impl House {
    fn read(source: &str) -> Self {
        let modules: BTreeMap<Path, String> = files_ending(".rs")
            .into_iter()
            .filter(|file| file.starts_with(source))
            .filter(|file| !file.contains("/tests/") && !file.ends_with("/tests.rs"))
            .filter(|file| !file.contains("/template/"))
            .map(|file| (module(&file[source.len()..]), file))
            .collect();
        let arrows = modules.iter().map(|(place, file)| {
            let parsed = syn::parse_file(&text(file).expect("sources are UTF-8"));
            let parsed = parsed.unwrap_or_else(|error| panic!("{file}: {error}"));
            let mut imports = Imports {
                place: place.clone(),
                found: BTreeSet::new(),
            };
            imports.visit_file(&parsed);
            let known = imports.found.into_iter().filter_map(|path| {
                let longest = (1..=path.len()).rev();
                longest
                    .map(|n| path[..n].to_vec())
                    .find(|path| modules.contains_key(path))
            });
            (place.clone(), known.collect())
        });
        Self {
            arrows: arrows.collect(),
        }
    }

    /// On each floor, the rooms that reach each other both ways.
    fn rings(&self) -> impl Iterator<Item = String> {
        let mut floors: BTreeMap<Path, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, known) in &self.arrows {
            for to in known {
                let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
                // A room and what is inside of it are no two rooms.
                if shared < from.len() && shared < to.len() {
                    let floor = floors.entry(from[..shared].to_vec()).or_default();
                    let room = floor.entry(from[shared].clone()).or_default();
                    room.insert(to[shared].clone());
                }
            }
        }
        floors.into_iter().flat_map(|(floor, rooms)| {
            circles(&rooms).into_iter().map(move |circle| {
                let mut place = floor.join("/");
                if !place.is_empty() {
                    place.push_str(": ");
                }
                format!(
                    "{place}{}",
                    circle.into_iter().collect::<Vec<_>>().join(", ")
                )
            })
        })
    }
}

/// Groups of rooms of which each reaches every other.
fn circles(rooms: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = rooms
        .keys()
        .map(|start| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(room) = next.pop() {
                for to in rooms.get(room).into_iter().flatten() {
                    if seen.insert(to) {
                        next.push(to);
                    }
                }
            }
            (start, seen)
        })
        .collect();
    let circle = |room: &String| -> BTreeSet<String> {
        let back = |other: &&&String| reached.get(**other).is_some_and(|seen| seen.contains(room));
        reached[room]
            .iter()
            .filter(back)
            .map(|other| (**other).clone())
            .collect()
    };
    let circles: BTreeSet<_> = rooms.keys().map(circle).filter(|c| c.len() > 1).collect();
    circles.into_iter().collect()
}

/// `lane/mod.rs` and `lane.rs` are both the module `lane`; the root is the empty path.
fn module(file: &str) -> Path {
    let stem = file.strip_suffix(".rs").expect("a source");
    let mut path: Path = stem.split('/').map(str::to_owned).collect();
    let last = path.last().map(String::as_str);
    if matches!(last, Some("mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// Collects whatever a file names of its own package.
struct Imports {
    place: Path,
    found: BTreeSet<Path>,
}

impl Imports {
    fn note(&mut self, segments: &[String]) {
        let mut place = self.place.clone();
        let mut rest = segments;
        match rest.first().map(String::as_str) {
            Some("crate") => place.clear(),
            Some("self") => {}
            Some("super") => drop(place.pop()),
            // A module beside or inside, named without a word for where.
            Some(_) | None => {
                place.extend_from_slice(rest);
                self.found.insert(place);
                return;
            }
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|word| word == "super") {
            place.pop();
            rest = &rest[1..];
        }
        place.extend_from_slice(rest);
        self.found.insert(place);
    }

    fn tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &dyn ToString| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.note(prefix),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(name) => self.note(&with(&name.ident)),
            UseTree::Glob(_) => self.note(prefix),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let Some((_, items)) = &module.content else {
            return;
        };
        self.place.push(module.ident.to_string());
        for item in items {
            self.visit_item(item);
        }
        self.place.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            if matches!(&*segments[0], "crate" | "self" | "super") {
                self.note(&segments);
            }
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|word| word == "test")
    })
}

#[test]
fn a_ring_is_found_however_it_is_spelled() {
    let mut imports = Imports {
        place: vec!["lane".into(), "worker".into()],
        found: BTreeSet::new(),
    };
    let source = "use crate::{api::Api, store::{self, record::*}}; use super::slot::Slot; \
                  fn f() { crate::link::send(); } #[cfg(test)] mod tests { use crate::hidden::X; }";
    imports.visit_file(&syn::parse_str(source).expect("Rust"));
    let found: Vec<String> = imports.found.iter().map(|path| path.join("/")).collect();
    assert_eq!(
        found,
        [
            "api/Api",
            "lane/slot/Slot",
            "link/send",
            "store",
            "store/record"
        ]
    );
    let one = |name: &str, to: &str| (name.to_owned(), BTreeSet::from([to.to_owned()]));
    let rooms = BTreeMap::from([one("a", "b"), one("b", "c"), one("c", "a"), one("d", "a")]);
    let circle = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(circles(&rooms), [BTreeSet::from(circle)]);
}
