//! stub until merge
use super::Entry;
use crate::error::Result;
impl Entry {
    /// stub
    pub fn check(&self) -> Result<()> {
        let mut line = Vec::new();
        self.write_line(&mut line);
        Self::parse_line(&line).map(drop)
    }
}
