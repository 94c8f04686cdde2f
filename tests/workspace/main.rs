//! What can be checked about the house itself: who may know whom, how files look, whether the documents tell the
//! truth about commands, links and names.
//!
//! In reading order: [`tree`] (what is there), [`arrows`] (which package may know which), [`rings`]
//! (rooms inside a package), [`files`] (sources), [`sizes`] (of files and
//! functions), [`documents`]
//! (links, decisions), [`errors`] (a page for every code), [`promises`] (tests behind the guarantees), [`tutorial`],
//! [`commands`] (what the documents tell people to type).

mod arrows;
mod commands;
mod documents;
mod errors;
mod files;
mod promises;
mod rings;
mod sizes;
mod tree;
mod tutorial;
