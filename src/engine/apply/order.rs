//! In which order components are applied: what others need comes first.

use crate::config::ComponentConfig;

/// What the order depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank<'a> {
    name: &'a str,
    /// The smaller, the earlier.
    priority: i64,
    /// Components that must be there before.
    needs: &'a [String],
}

impl<'a> Rank<'a> {
    pub(super) fn of(config: &'a ComponentConfig) -> Self {
        Self { name: &config.name, priority: config.priority, needs: &config.needs }
    }

    /// Components that must be there before.
    pub(super) fn needs(&self) -> &'a [String] {
        self.needs
    }
}

/// Places of `ranks` in the order in which they are applied: each after all that it needs, then by priority, then as they
/// come. A need that is not among them does not count; those that need each other, which a configuration refuses, come as
/// they are.
pub(super) fn order(ranks: &[Rank<'_>]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..ranks.len()).collect();
    left.sort_by_key(|&at| ranks[at].priority);
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |at: usize| {
            left.iter().any(|&other| other != at && ranks[at].needs.contains(&ranks[other].name.to_owned()))
        };
        let next = left.iter().position(|&at| !waits(at)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first_then_priority_then_the_order_of_the_configuration() {
        let needs = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let (none, on_c, on_gone, on_a) = (needs(&[]), needs(&["c"]), needs(&["gone"]), needs(&["a"]));
        let rank = |name, priority, needs| Rank { name, priority, needs };
        let ordered = |ranks: &[Rank<'_>]| order(ranks).iter().map(|&at| ranks[at].name).collect::<String>();
        assert_eq!(ordered(&[rank("a", 0, &none), rank("b", 0, &none)]), "ab");
        assert_eq!(ordered(&[rank("a", 0, &on_c), rank("b", 0, &none), rank("c", 0, &none)]), "bca");
        assert_eq!(ordered(&[rank("a", 2, &none), rank("b", 1, &none), rank("c", -1, &none)]), "cba");
        assert_eq!(ordered(&[rank("a", -1, &on_c), rank("b", 1, &none), rank("c", 2, &none)]), "bca");
        assert_eq!(ordered(&[rank("a", 0, &on_gone), rank("b", 0, &none)]), "ab");
        assert_eq!(ordered(&[rank("a", 0, &on_c), rank("c", 0, &on_a)]), "ac", "a circle ends");
        assert_eq!(ordered(&[]), "");
    }
}
