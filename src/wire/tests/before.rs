//! What an earlier release wrote, and what its logs give today.

use crate::{
    domain::{
        Order,
        cell::{CellHead, Solo},
        testing::life,
    },
    wire::blob,
};

/// By seed, cells that the release with format 2 made of `life(seed, 350, 5, 3)`: the cell's head, and its orders by id.
type Cells = Vec<(u64, Vec<u8>, Vec<(String, Vec<u8>)>)>;

#[test]
fn old_states_are_read_and_old_logs_give_them() {
    let cells: Cells = postcard::from_bytes(include_bytes!("format-2.bin")).unwrap();
    assert_eq!(cells.len(), 2);
    for (seed, head, orders) in cells {
        let mut solo = Solo::default();
        for entry in life(seed, 350, 5, 3) {
            solo.apply(&entry);
        }
        assert_eq!(blob::decode::<CellHead>(&head).unwrap(), *solo.cell.head());
        assert_eq!(orders.len(), solo.orders.values().flatten().count());
        for (id, old) in orders {
            let order = solo.orders[&id.parse().unwrap()].as_ref().unwrap();
            // Byte for byte, so that what blobs leave out (sealed chunks) doesn't count.
            let read = blob::decode::<Order>(&old).unwrap();
            assert_eq!(blob::encode(&read).unwrap(), blob::encode(order).unwrap(), "{id} of seed {seed}");
        }
    }
}
