//! Example sagas and the participants that serve them, each in a folder with its story.

pub mod book_trip;
