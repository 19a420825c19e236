"""Fixed texts, the same on every machine, on which engines are compared with plain fp32.

Whether an engine passes must not depend on whose texts come first. These are of one word to some hundred, in
several languages and scripts, with numbers, names and punctuation.
"""

from __future__ import annotations

#: Version of the texts; decisions made on other versions do not count.
VERSION = 1

_TEXTS = (
    "The harbour was quiet in the morning, and two boats came in with the tide.",
    "No.",
    "She opened the letter, read it twice, put it back into its envelope and said nothing about it to anyone "
    "for the rest of the week, although everybody in the house could see that something had changed.",
    "Order no. 48213 was shipped on 3 March 2021 and weighs 12.5 kg; the invoice of 1,980 EUR is attached.",
    "What a wonderful evening!",
    "The compiler reports an error in line 17: expected ';' before '}' token.",
    "Die Brücke über den Fluss wurde nach dem Hochwasser neu gebaut.",
    "I would not recommend this hotel: the room was cold, the staff unfriendly and breakfast late.",
    "Water boils at a lower temperature in the mountains because the pressure of the air is lower there. A "
    "cook who follows a recipe from the coast will find that beans stay hard. At 3,000 metres water boils at "
    "about 90 degrees, so the same dish takes half as long again; some give up and use a pressure cooker.",
    "Le musée est fermé le mardi.",
    "breaking news",
    "Photosynthesis turns carbon dioxide and water into sugar and oxygen in the light of the sun.",
    "El tren de las ocho llegó con veinte minutos de retraso, pero nadie se quejó.",
    "Is there a pharmacy near the station that is open on Sundays?",
    "The plot is thin, the jokes are old, and yet I laughed more than in any film of the last ten years.",
    "彼女は毎朝公園を散歩します。",
    "Add the flour, stir, and let the dough rest for an hour in a warm place.",
    "The court held that the contract was void from the beginning, since neither party had read it.",
    "Мы встретились у старого моста, когда уже стемнело.",
    "ok thanks, see you tmrw at 7 :-)",
    "A short proof: assume that there are finitely many primes, multiply them all and add one. The result is "
    "divisible by none of them, so it has a prime factor that is not in the list, which is a contradiction.",
    "The striker scored twice in the first half and was carried off the field in the second.",
    "Interest rates rose for the fourth time this year.",
    "My neighbour's dog barks at the postman, at the moon, and at nothing at all.",
    "Patients who received the drug recovered two days earlier on average (95 % interval 0.4 to 3.6 days).",
    "Press the red button to stop the machine; do not open the cover while the blade turns.",
    "In the old town every house has a name, and nobody knows why the one with the blue door is called "
    "the Whale. Some say that a captain lived there, others that its roof once leaked so badly that the "
    "family sailed through the kitchen in a bathtub. The owner, a dentist, has painted a small fish beside "
    "the bell, which the children of the street touch for luck before their examinations.",
    "Not bad at all.",
    "The dataset has 9,613 sentences, each with one of two labels.",
    "Hava çok güzel, denize gidelim mi?",
    "Rust never sleeps.",
    "Please find enclosed the minutes of the meeting; comments are welcome until Friday noon.",
)


def reference_texts(count: int) -> list[str]:
    """Return the first `count` of a fixed series of texts; it starts again after its end."""
    return [_TEXTS[number % len(_TEXTS)] for number in range(count)]
