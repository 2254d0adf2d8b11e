//! What a server that never answers costs the first list of those beside it.

use anyhow::Result;

use super::{COLD_LIST, Effort, Start, start};
use crate::peer::Home;
use crate::report::{Row, Target, Unit, median};

const SERVERS: usize = 10;

/// The very first list that a client sees, with nothing known from an earlier run: nine servers, and the same with a tenth that hangs.
pub(super) fn first_list(effort: Effort) -> Result<()> {
    let first = Start { servers: SERVERS - 1, ..COLD_LIST };
    let (mut without, mut with, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let (nine, ten) = (Home::with_processes(SERVERS - 1, false)?, Home::with_processes(SERVERS - 1, true)?);
        let sound = start(&first, || nine.proxy())?;
        let delayed = start(&first, || ten.proxy())?;
        without.push(sound);
        with.push(delayed);
        cost.push(delayed - sound);
    }
    Row {
        name: "first tools/list of nine servers; as proxy, with a tenth that hangs".to_owned(),
        unit: Unit::Millis,
        direct: Some(median(&mut without)),
        relay: None,
        proxy: median(&mut with),
        what: "later".to_owned(),
        figure: median(&mut cost),
        figure_unit: Unit::Millis,
        target: Target::AtMost(50.0),
    }
    .print();
    Ok(())
}
