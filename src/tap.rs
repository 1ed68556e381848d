//! What a person sees of the data on an edge: which items, as they went in, as they came out, and
//! what became of them.
//!
//! ```text
//!  worker --Seen--> queue (telemetry::tap) --> Digest --Shown--> reader
//!                                               |  items: marks, one item as a request of its own
//!                                               |  masks: secrets, before anything else looks
//!                                               |  condition, choice: which items
//!                                               |  pairs: what is inside of a processor
//!                                               `- fields: names, values, differences
//! ```
//!
//! Pairing: an item that goes in is known again by its [mark](items::Mark) when it comes out. A
//! processor that is done with its payload when its call ends has dropped what is missing then, as
//! long as it says that it has left out so many. Of any other the item is inside, until it comes
//! out or a sampler's decision says that it will not.
//!
//! Everything here has a limit: items of a payload, bytes of an item, the window of what is inside,
//! fields of an item, patterns, the text of a condition.

pub mod choice;
pub mod condition;
pub mod digest;
pub mod fields;
pub mod head;
pub mod items;
pub mod masks;
pub mod pairs;
pub mod shown;
pub mod single;

pub use condition::Condition;
pub use digest::{Digest, Settings};
pub use fields::{Change, Named};
pub use head::Head;
pub use masks::Masks;
pub use shown::{Counts, Fate, Shown, Side, Verdict};
pub use single::Single;
