// Ten prompts to begin with, from what any model can do to what few can: the weight moves the choice
// on some of them, and on others there is nothing to weigh.

export const EXAMPLES = [
  ["hi", "hi"],
  ["Capital of France", "What is the capital of France?"],
  ["Thank-you mail", "Write a short, friendly email that thanks Maria for her help with the move on Saturday."],
  ["Summarise a mail", `Summarise this mail in one sentence:

Hi all,
the venue for the workshop has changed: the room at the old mill is flooded, so we meet on Thursday at nine in the town library, second floor. Please bring your own laptop, as they have none to lend. Lunch is at half past twelve in the canteen next door; tell Ana by Tuesday if you do not eat meat. We should be done by four. Parking is scarce, so take the train if you can: it is five minutes on foot from the station.
See you there,
Tom`],
  ["SQL query", "Write an SQL query that lists, per month of 2024, the ten customers with the highest revenue and how their rank changed against the month before. Tables: customers(id, name), orders(id, customer_id, ordered_at, total)."],
  ["√2 is irrational", "Prove that sqrt(2) is irrational."],
  ["Rust web server", "Write a Rust async web server with graceful shutdown and tests."],
  ["Lock-free queue", "Implement a lock-free multi-producer multi-consumer queue in C++ with safe memory reclamation, and prove that it is linearizable."],
  ["German", "Wie lange muss ein weiches Ei kochen?"],
  ["Chinese", "请证明素数有无穷多个，并说明这个证明为什么不能直接推广到孪生素数。"],
];
