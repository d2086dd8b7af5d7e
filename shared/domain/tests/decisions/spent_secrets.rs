//! Which secrets nobody needs any more (R9): they may be deleted whoever makes them, and however late.

use bellhop_domain::reservation::SPENT_SECRETS;

use super::*;

/// The ledger of one resource, fed by a story.
struct Book {
    ledger: Ledger,
    resource: ResourceId,
    version: u64,
}

impl Book {
    fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            resource: ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01"),
            version: 0,
        }
    }

    fn take(&mut self, facts: &[Fact]) {
        self.version += 1;
        let (version, at) = (Version(self.version), at(0));
        self.ledger.apply(&self.resource, version, at, None, facts);
    }

    fn spent(&self) -> Vec<&str> {
        let spent = self.ledger.spent_secrets();
        spent.map(|spent| spent.secret.as_str()).collect()
    }
}

fn released_by_driver() -> Observation {
    Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    }
}

#[test]
fn a_secret_is_spent_when_its_reservation_is_over_and_its_host_given_back() {
    let (mut story, mut book) = (unknown(), Book::new());
    book.take(&story.said("a", start()));
    book.take(&story.observed(clean()));
    assert!(book.spent().is_empty());
    book.take(&story.said("a", Said::End));
    assert!(book.spent().is_empty());
    book.take(&story.observed(released_by_driver()));
    assert_eq!(book.spent(), ["secret"]);
}

#[test]
fn the_secret_of_a_reservation_that_will_start_again_is_not_spent() {
    let (mut story, mut book) = (unknown(), Book::new());
    book.take(&story.said("a", start()));
    book.take(&story.observed(clean()));
    let mut later = story.word("a", Said::Changed, 9 * HOUR, Some(story.now));
    later.knowledge.schedule.start = at(8 * HOUR);
    book.take(&story.decide(&Command::Said(Box::new(later))));
    book.take(&story.observed(released_by_driver()));
    assert!(book.spent().is_empty());
    // The same host, so the same name.
    book.take(&story.wait_until(8 * HOUR));
    book.take(&story.observed(clean()));
    assert!(story.resource.holding().is_some());
    assert!(book.spent().is_empty());
    book.take(&story.wait_until(9 * HOUR - 1));
    book.take(&story.said("a", Said::Deleted));
    assert!(book.spent().is_empty());
    book.take(&story.observed(released_by_driver()));
    assert_eq!(book.spent(), ["secret"]);
}

#[test]
fn of_each_resource_the_last_secrets_are_remembered() {
    let mut book = Book::new();
    for number in 0..SPENT_SECRETS + 3 {
        let mut story = unknown();
        let host = host();
        let secret = format!("secret-{number}");
        let facts = [
            story.said("a", start()),
            story.observed(Observation::Clean { host, secret }),
            story.said("a", Said::End),
            story.observed(released_by_driver()),
        ];
        let text = serde_json::to_string(&facts.concat()).unwrap();
        let text = text.replace(
            "reservation-system:a",
            &format!("reservation-system:{number}"),
        );
        book.take(&serde_json::from_str::<Vec<Fact>>(&text).unwrap());
    }
    let spent = book.spent();
    assert_eq!(spent.len(), SPENT_SECRETS);
    assert_eq!(spent.first(), Some(&"secret-3"));
}
