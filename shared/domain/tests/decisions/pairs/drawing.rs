//! Reads a drawing: lines of box-drawing characters, with labels in them, lead from states to arrowheads at states. A space parts a
//! state from its line; a label has none. States that go the same way may stand in a list.

use std::collections::BTreeSet;

use super::super::ways::{TABLE, Way, way};

/// The ways that are drawn.
pub(crate) fn ways(drawing: &str) -> BTreeSet<Way> {
    let drawing = Drawing::read(drawing);
    let mut ways = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for at in drawing.cells() {
        if seen.contains(&at) || drawing.sides(at).is_empty() {
            continue;
        }
        let line = drawing.line(at);
        let (tails, heads) = drawing.ends(&line);
        assert!(
            !tails.is_empty() && !heads.is_empty(),
            "the line at row {}, column {} leads from {tails:?} to {heads:?}",
            at.0,
            at.1
        );
        ways.extend(
            tails
                .iter()
                .flat_map(|tail| heads.iter().map(|head| way(tail, head))),
        );
        seen.extend(line);
    }
    ways
}

/// Row and column.
type Cell = (usize, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Up,
    Down,
}

use Side::{Down, Left, Right, Up};

impl Side {
    fn opposite(self) -> Self {
        match self {
            Left => Right,
            Right => Left,
            Up => Down,
            Down => Up,
        }
    }

    fn of(self, (row, column): Cell) -> Option<Cell> {
        Some(match self {
            Left => (row, column.checked_sub(1)?),
            Right => (row, column + 1),
            Up => (row.checked_sub(1)?, column),
            Down => (row + 1, column),
        })
    }
}

/// To which sides a line goes on from a character.
fn sides_of(character: char) -> &'static [Side] {
    match character {
        '─' => &[Left, Right],
        '│' => &[Up, Down],
        '┌' => &[Right, Down],
        '┐' => &[Left, Down],
        '└' => &[Right, Up],
        '┘' => &[Left, Up],
        '├' => &[Up, Down, Right],
        '┤' => &[Up, Down, Left],
        '┬' => &[Left, Right, Down],
        '┴' => &[Left, Right, Up],
        '┼' => &[Left, Right, Up, Down],
        '▶' => &[Left],
        '◀' => &[Right],
        '▲' => &[Down],
        '▼' => &[Up],
        _ => &[],
    }
}

/// Words in a row: those of a label, or of states.
struct Words {
    row: usize,
    from: usize,
    to: usize,
    text: String,
}

struct Drawing {
    rows: Vec<Vec<char>>,
    labels: Vec<Words>,
    states: Vec<Words>,
}

impl Drawing {
    fn read(drawing: &str) -> Self {
        let rows: Vec<Vec<char>> = drawing.lines().map(|row| row.chars().collect()).collect();
        let mut read = Self {
            rows,
            labels: Vec::new(),
            states: Vec::new(),
        };
        for row in 0..read.rows.len() {
            for words in read.words(row) {
                let is_in_a_line = |column: Option<usize>| {
                    column.is_some_and(|column| !sides_of(read.at((row, column))).is_empty())
                };
                let in_a_line =
                    is_in_a_line(words.from.checked_sub(1)) || is_in_a_line(Some(words.to));
                let known = |name: &str| TABLE.iter().any(|(from, to)| from == name || to == name);
                if in_a_line {
                    read.labels.push(words);
                } else if words.text.split(", ").all(known) {
                    read.states.push(words);
                }
            }
        }
        read
    }

    fn at(&self, (row, column): Cell) -> char {
        let character = self.rows.get(row).and_then(|row| row.get(column));
        character.copied().unwrap_or(' ')
    }

    fn cells(&self) -> impl Iterator<Item = Cell> {
        let columns = self.rows.iter().map(Vec::len).enumerate();
        columns.flat_map(|(row, columns)| (0..columns).map(move |column| (row, column)))
    }

    /// What stands in a row between lines, or between two spaces.
    fn words(&self, row: usize) -> Vec<Words> {
        let mut words: Vec<Words> = Vec::new();
        for (column, character) in self.rows[row].iter().copied().enumerate() {
            if character == ' ' || !sides_of(character).is_empty() {
                continue;
            }
            match words.last_mut() {
                Some(last) if last.to == column => {
                    last.text.push(character);
                    last.to += 1;
                }
                Some(last) if last.to + 1 == column && self.at((row, last.to)) == ' ' => {
                    last.text.extend([' ', character]);
                    last.to += 2;
                }
                Some(_) | None => words.push(Words {
                    row,
                    from: column,
                    to: column + 1,
                    text: character.to_string(),
                }),
            }
        }
        words
    }

    fn sides(&self, (row, column): Cell) -> &'static [Side] {
        let is_label = self
            .labels
            .iter()
            .any(|label| label.row == row && (label.from..label.to).contains(&column));
        if is_label {
            &[Left, Right]
        } else {
            sides_of(self.at((row, column)))
        }
    }

    /// All that is joined with one cell of a line.
    fn line(&self, begin: Cell) -> BTreeSet<Cell> {
        let mut line = BTreeSet::from([begin]);
        let mut open = vec![begin];
        while let Some(at) = open.pop() {
            for side in self.sides(at) {
                let joined = side.of(at).filter(|next| {
                    self.sides(*next).contains(&side.opposite()) && line.insert(*next)
                });
                open.extend(joined);
            }
        }
        line
    }

    /// The states that a line comes from, and those that it leads to.
    fn ends(&self, line: &BTreeSet<Cell>) -> (Vec<&str>, Vec<&str>) {
        let (mut tails, mut heads) = (Vec::new(), Vec::new());
        for words in &self.states {
            for (at, side) in words.surroundings() {
                if !line.contains(&at) {
                    continue;
                }
                // An arrowhead goes on only to where it comes from.
                let is_head = self.sides(at) == [side];
                let is_tail = self.sides(at).contains(&side.opposite());
                let names = words.text.split(", ");
                if is_head {
                    heads.extend(names);
                } else if is_tail {
                    tails.extend(names);
                }
            }
        }
        (tails, heads)
    }
}

impl Words {
    /// Where a line may begin or end at them, with the side of them that it is on.
    fn surroundings(&self) -> Vec<(Cell, Side)> {
        let mut around = vec![((self.row, self.to + 1), Right)];
        around.extend(
            self.from
                .checked_sub(2)
                .map(|column| ((self.row, column), Left)),
        );
        for column in self.from..self.to {
            around.push(((self.row + 1, column), Down));
            around.extend(self.row.checked_sub(1).map(|row| ((row, column), Up)));
        }
        around
    }
}

#[test]
fn a_drawing_is_read_along_its_lines() {
    let drawing = "
   waiting ──no host──▶ failed
      │ └────deleted──▶ cancelled
      ▼ clean host
   claiming ─▶ preparing ─▶ ready
      │            │
      └─────┬──────┘
            └──error──▶ failed     postponed ◀── moved
   ";
    let expected = [
        ("waiting", "failed"),
        ("waiting", "cancelled"),
        ("waiting", "claiming"),
        ("claiming", "preparing"),
        ("preparing", "ready"),
        ("claiming", "failed"),
        ("preparing", "failed"),
        ("moved", "postponed"),
    ];
    let expected: BTreeSet<_> = expected.map(|(from, to)| way(from, to)).into();
    assert_eq!(ways(drawing), expected);
}
