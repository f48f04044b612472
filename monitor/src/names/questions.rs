//! Questions to name servers that are not answered yet: an answer counts only if a socket of this
//! host asked just that, of just that server. Bounded; full, whoever asks most forgets first.

use std::sync::Arc;

use monitor_ebpf::sample::FlowKey;
use rustc_hash::FxHashMap;

use super::{dns::Question, table::Asker};

/// Questions that wait for an answer at once.
pub(super) const QUESTIONS_MAX: usize = 8192;
/// Of these, those of one process.
const ASKER_MAX: u32 = 1024;
/// How long an answer is waited for.
const PATIENCE_NS: u64 = 30_000_000_000;
/// Answers that lead nowhere which a question outlives: cut or broken ones, and those of servers
/// that have no address of the kind that was asked for.
const FUTILE_MAX: u8 = 8;

/// A socket and the other side's address and port; the id, and what was asked.
type Key = (FlowKey, u16, Arc<str>, Arc<str>);

#[derive(Debug)]
struct Open {
    at_ns: u64,
    asker: Asker,
    futile: u8,
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    open: FxHashMap<Key, Open>,
    by_asker: FxHashMap<Asker, u32>,
    /// Forgotten, or not taken in, before their time.
    pub(super) evicted: u64,
    /// Answers to what nobody had asked.
    pub(super) unasked: u64,
}

impl Questions {
    /// Asked again, it may be answered again.
    pub(super) fn ask(&mut self, flow: &FlowKey, question: &Question, asker: Asker, now: u64) {
        let key = key(flow, question);
        if !self.open.contains_key(&key) {
            if self.by_asker.get(&asker).is_some_and(|count| *count >= ASKER_MAX) {
                self.evicted += 1;
                return;
            }
            if self.open.len() >= QUESTIONS_MAX {
                self.make_room(now);
            }
            *self.by_asker.entry(asker).or_default() += 1;
        }
        self.open.insert(key, Open { at_ns: now, asker, futile: 0 });
    }

    /// Whether this was asked. Of two answers that lead somewhere the first counts, as it does for
    /// whoever asked.
    pub(super) fn answer(
        &mut self,
        flow: &FlowKey,
        question: &Question,
        leads_somewhere: bool,
        now: u64,
    ) -> bool {
        let key = key(flow, question);
        let is_open = |open: &&mut Open| open.at_ns + PATIENCE_NS >= now;
        let Some(open) = self.open.get_mut(&key).filter(is_open) else {
            self.unasked += 1;
            return false;
        };
        open.futile += 1;
        if leads_somewhere || open.futile >= FUTILE_MAX {
            self.close(&key);
        }
        true
    }

    pub(super) fn expire(&mut self, now: u64) {
        self.forget(|open| open.at_ns + PATIENCE_NS < now);
        if self.open.capacity() > 1024 && self.open.len() < self.open.capacity() / 8 {
            self.open.shrink_to_fit();
            self.by_asker.shrink_to_fit();
        }
    }

    fn close(&mut self, key: &Key) {
        if let Some(open) = self.open.remove(key) {
            self.release(open.asker);
        }
    }

    fn release(&mut self, asker: Asker) {
        if let Some(count) = self.by_asker.get_mut(&asker) {
            *count -= 1;
            if *count == 0 {
                self.by_asker.remove(&asker);
            }
        }
    }

    /// All of the one that has asked most, once nothing else makes room.
    fn make_room(&mut self, now: u64) {
        self.expire(now);
        if self.open.len() < QUESTIONS_MAX {
            return;
        }
        let most = self.by_asker.iter().max_by_key(|(_, count)| **count);
        if let Some(most) = most.map(|(asker, _)| *asker) {
            self.evicted += self.forget(|open| open.asker == most);
        }
    }

    /// How many went.
    fn forget(&mut self, is_over: impl Fn(&Open) -> bool) -> u64 {
        let mut gone = Vec::new();
        self.open.retain(|_, open| {
            let goes = is_over(open);
            if goes {
                gone.push(open.asker);
            }
            !goes
        });
        let count = gone.len() as u64;
        for asker in gone {
            self.release(asker);
        }
        count
    }
}

fn key(flow: &FlowKey, question: &Question) -> Key {
    (*flow, question.id, Arc::clone(&question.name), Arc::clone(&question.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(tgid: u32) -> Asker {
        Asker { netns: 1, tgid, started_ns: 0 }
    }

    fn flow(cookie: u64) -> FlowKey {
        FlowKey { cookie, remote_port: 53, transport: 17, ..FlowKey::default() }
    }

    fn question(id: u16, name: &str) -> Question {
        Question { id, name: name.into(), kind: "A".into() }
    }

    #[test]
    fn an_answer_counts_only_for_the_same_id_name_kind_socket_and_server() {
        let mut questions = Questions::default();
        let asked = question(7, "good.example");
        questions.ask(&flow(1), &asked, asker(10), 0);
        let other_kind = Question { kind: "AAAA".into(), ..asked.clone() };
        let other_server = FlowKey { remote: [9; 16], ..flow(1) };
        let other_port = FlowKey { remote_port: 5353, ..flow(1) };
        for (flow, question) in [
            (flow(1), question(8, "good.example")),
            (flow(1), question(7, "evil.example")),
            (flow(1), other_kind),
            (flow(2), asked.clone()),
            (other_server, asked.clone()),
            (other_port, asked.clone()),
        ] {
            assert!(!questions.answer(&flow, &question, true, 1), "{flow:?} {question:?}");
        }
        assert_eq!(questions.unasked, 6);
        assert!(questions.answer(&flow(1), &asked, true, 1));
    }

    #[test]
    fn a_question_is_answered_once_and_outlives_a_few_answers_that_lead_nowhere() {
        let mut questions = Questions::default();
        let asked = question(7, "good.example");
        questions.ask(&flow(1), &asked, asker(10), 0);
        assert!(questions.answer(&flow(1), &asked, false, 1));
        assert!(questions.answer(&flow(1), &asked, true, 1));
        assert!(!questions.answer(&flow(1), &asked, true, 1));
        questions.ask(&flow(1), &asked, asker(10), 0);
        let answered = (0..20).filter(|_| questions.answer(&flow(1), &asked, false, 1)).count();
        assert_eq!(answered, usize::from(FUTILE_MAX));
        assert!(questions.open.is_empty() && questions.by_asker.is_empty());
    }

    #[test]
    fn a_question_that_nobody_answers_is_forgotten() {
        let mut questions = Questions::default();
        let asked = question(7, "good.example");
        questions.ask(&flow(1), &asked, asker(10), 5);
        assert!(!questions.answer(&flow(1), &asked, true, 5 + PATIENCE_NS + 1));
        questions.expire(5 + PATIENCE_NS + 1);
        assert!(questions.open.is_empty() && questions.by_asker.is_empty());
        assert_eq!(questions.evicted, 0);
    }

    #[test]
    fn who_asks_without_end_forgets_its_own_questions_and_nobody_elses() {
        let mut questions = Questions::default();
        let asked = question(7, "good.example");
        questions.ask(&flow(1), &asked, asker(10), 0);
        for number in 0..60_000 {
            let cookie = 2 + number / 100;
            questions.ask(&flow(cookie), &question(number as u16, "flood.example"), asker(20), 1);
        }
        assert_eq!(questions.evicted, 60_000 - u64::from(ASKER_MAX));
        // The same by many processes.
        for number in 0..60_000 {
            let question = question(number as u16, "flood.example");
            questions.ask(&flow(2000 + number), &question, asker(30 + number as u32 % 40), 1);
        }
        assert!(questions.open.len() <= QUESTIONS_MAX);
        assert!(questions.answer(&flow(1), &asked, true, 2));
    }
}
