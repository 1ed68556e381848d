//! Pays for what is made of a payload before it is made, out of the account that the payload was
//! paid from.

use smallvec::SmallVec;

use super::payload::{Permit, Reason};

/// Bytes drawn from an account for one purpose, given back when the purse is dropped.
#[derive(Debug, Default)]
pub struct Purse {
    /// None: nobody keeps accounts.
    account: Option<Permit>,
    /// Bytes that may be a debt.
    credit: u64,
    /// Bytes that were drawn, and those of them that nothing is made of yet.
    drawn: u64,
    left: u64,
    permits: SmallVec<[Permit; 1]>,
}

impl Purse {
    /// A purse that draws on the account of `permit`: `credit` bytes in any case, which the next
    /// acquirer waits for, and beyond them as many as are free.
    pub fn new(permit: Option<&Permit>, credit: usize) -> Self {
        Purse { account: permit.cloned(), credit: credit as u64, ..Purse::default() }
    }

    /// Pays for so many bytes more, or refuses.
    pub fn pay(&mut self, bytes: usize) -> Result<(), Reason> {
        let bytes = bytes as u64;
        if let (Some(account), true) = (&self.account, bytes > self.left) {
            // Ahead, so that many small payments are few charges.
            let more = (bytes - self.left).max(self.drawn / 4);
            let permit = if self.drawn + more <= self.credit {
                account.more(more)
            } else {
                account.try_more(more).ok_or(Reason::OverBudget)?
            };
            self.permits.push(permit);
            self.drawn += more;
            self.left += more;
        }
        self.left = self.left.saturating_sub(bytes);
        Ok(())
    }

    /// Appends to a list, which grows by doubling.
    pub fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), Reason> {
        if list.len() == list.capacity() {
            let more = list.len().max(8);
            self.pay((list.len() + more) * size_of::<T>())?;
            list.reserve_exact(more);
        }
        list.push(item);
        Ok(())
    }

    /// What was drawn, to go with what was made.
    pub fn into_permits(self) -> SmallVec<[Permit; 1]> {
        self.permits
    }
}
