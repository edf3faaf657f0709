//! What the contract of all kinds asks of one that is tested.

use ccbackup::ComponentConfig;
use ccbackup::environment::Environment;
use ccbackup::source::Source;

/// What a property does not need any more when it is dropped: it then stops, or heals what it broke.
pub(crate) type Guard = Box<dyn std::any::Any>;

/// Opens the source of a component.
pub(crate) type OpenSource = fn(&ComponentConfig) -> Box<dyn Source>;

/// One living service, or set of files, of one kind. All of it lies in folders and on ports of its own.
pub(crate) trait Subject {
    /// What captures and applies it.
    fn component(&self) -> ComponentConfig;

    /// What opens its source; only a kind that is no kind of the program has another.
    fn open(&self) -> OpenSource {
        |config| ccbackup::source::open(&config.source)
    }

    /// Variables that references to secrets need.
    fn environment(&self) -> Environment {
        Environment::default()
    }

    /// Fills the new service with data of every sort that the kind knows.
    fn fill(&mut self);

    /// Changes a little of what `fill` made: something is changed, something added, something removed.
    fn change(&mut self);

    /// Loses all data. The service runs on, as a new one would.
    fn wipe(&mut self);

    /// All data, in an order of its own, as the vendor's client tells it: equal if and only if the data are.
    fn fingerprint(&self) -> String;

    /// Begins to change the source all the time, until the guard is dropped; none where nothing could.
    fn churn(&mut self) -> Option<Guard> {
        None
    }

    /// Makes every capture fail in its middle, until the guard is dropped; none where nothing could.
    fn break_half_way(&mut self) -> Option<Guard> {
        None
    }

    /// The secret by which the service is reached; none where there is none. It must be found nowhere.
    fn canary(&self) -> Option<String> {
        None
    }

    /// A text that is in the arguments of every child that works for this subject: a folder, a port.
    fn mark(&self) -> Option<String> {
        None
    }

    /// Whether an apply makes what is missing beside what is there, so that nothing more than `fill` made is left.
    fn is_exact(&self) -> bool {
        true
    }
}
