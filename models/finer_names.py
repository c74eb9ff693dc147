"""Which classes of ImageNet are finer names, or the same name, of each class of COCO.

Made from WordNet (what lies below the COCO word in its tree of kinds), then gone through by hand: people and parts of
things are left out (a car wheel is no car), words of another meaning too (a crane at a building site is no bird), and
what COCO counts in but WordNet does not is added (a pickup is a truck there, every vessel a boat).
"""

from __future__ import annotations

from collections.abc import Mapping

# One COCO class a paragraph; a comma ends a name.
_TABLE = """
bicycle: tandem bicycle, mountain bike

car: ambulance, station wagon, taxicab, convertible, jeep, limousine, minivan, Ford Model T, pickup truck, police van,
  race car, sports car

motorcycle: moped, motor scooter

airplane: airliner, military aircraft

bus: minibus, school bus, trolleybus, tram

train: high-speed train, electric locomotive, freight car, railroad car, steam locomotive, tram

truck: ambulance, fire truck, garbage truck, minivan, moving van, pickup truck, police van, recreational vehicle,
  semi-trailer truck, snowplow, tow truck

boat: aircraft carrier, canoe, catamaran, container ship, fireboat, gondola, lifeboat, motorboat, ocean liner,
  pirate ship, schooner, trimaran, yawl

traffic light: traffic light

parking meter: parking meter

bench: park bench

bird: rooster, hen, ostrich, brambling, goldfinch, house finch, junco, indigo bunting, American robin, bulbul, jay,
  magpie, chickadee, American dipper, kite (bird of prey), bald eagle, vulture, great grey owl, black grouse, ptarmigan,
  ruffed grouse, prairie grouse, peafowl, quail, partridge, African grey parrot, macaw, sulphur-crested cockatoo,
  lorikeet, coucal, bee eater, hornbill, hummingbird, jacamar, toucan, drake, red-breasted merganser, goose, black swan,
  white stork, black stork, spoonbill, flamingo, little blue heron, great egret, bittern, crane, limpkin,
  common gallinule, American coot, bustard, ruddy turnstone, dunlin, common redshank, dowitcher, oystercatcher, pelican,
  king penguin, albatross

cat: tabby cat, tiger cat, Persian cat, Siamese cat, Egyptian Mau

dog: Chihuahua, Japanese Chin, Maltese dog, Pekingese, Shih Tzu, King Charles Spaniel, papillon, toy terrier,
  Rhodesian ridgeback, Afghan hound, basset hound, beagle, bloodhound, Bluetick Coonhound, Black and Tan Coonhound,
  Treeing Walker Coonhound, English foxhound, Redbone Coonhound, borzoi, Irish wolfhound, Italian greyhound, whippet,
  Ibizan hound, Norwegian elkhound, otterhound, Saluki, Scottish deerhound, Weimaraner, Staffordshire bull terrier,
  American Staffordshire terrier, Bedlington terrier, Border terrier, Kerry blue terrier, Irish terrier, Norfolk
  terrier, Norwich terrier, Yorkshire terrier, Wire Fox Terrier, Lakeland terrier, Sealyham terrier, Airedale terrier,
  cairn terrier, Australian terrier, Dandie Dinmont terrier, Boston terrier, miniature schnauzer, giant schnauzer,
  standard schnauzer, Scottish terrier, Tibetan terrier, Australian Silky Terrier, soft-coated wheaten terrier, West
  Highland white terrier, Lhasa apso, flat-coated retriever, curly-coated retriever, golden retriever, Labrador
  retriever, Chesapeake Bay retriever, German Shorthaired Pointer, vizsla, English setter, Irish setter, Gordon
  setter, Brittany dog, clumber spaniel, English springer spaniel, Welsh springer spaniel, cocker spaniel, Sussex
  spaniel, Irish water spaniel, kuvasz, schipperke, Groenendael dog, malinois, briard, Australian Kelpie, komondor,
  Old English sheepdog, Shetland sheepdog, collie, Border collie, Bouvier des Flandres dog, Rottweiler, German
  shepherd dog, Dobermann, miniature pinscher, Greater Swiss Mountain dog, Bernese mountain dog, Appenzeller
  Sennenhund, Entlebucher Sennenhund, boxer, Bullmastiff, Tibetan mastiff, French bulldog, Great Dane, St. Bernard,
  husky, Alaskan malamute, Siberian husky, dalmatian, affenpinscher, basenji, pug, Leonberger, Newfoundland dog, Great
  Pyrenees dog, Samoyed, Pomeranian, chow chow, keeshond, Brussels griffon, Pembroke Welsh corgi, Cardigan Welsh
  corgi, toy poodle, miniature poodle, standard poodle, Mexican hairless

horse: common sorrel horse

sheep: ram, bighorn sheep

cow: ox, water buffalo, bison

elephant: tusker, Asian elephant, African bush elephant

bear: brown bear, American black bear, polar bear, sloth bear, giant panda

zebra: zebra

backpack: backpack

umbrella: umbrella

handbag: messenger bag, purse

tie: bolo tie, bow tie, Windsor tie

skis: ski

sports ball: baseball, basketball, croquet ball, golf ball, ping-pong ball, rugby ball, soccer ball, tennis ball,
  volleyball

tennis racket: racket

bottle: beer bottle, pill bottle, soda bottle, water bottle, water jug, whiskey jug, wine bottle

wine glass: goblet

cup: beer glass, coffee mug, measuring cup, tea cup

knife: cleaver, letter opener

spoon: ladle, wooden spoon

bowl: mixing bowl, soup bowl

banana: banana

apple: Granny Smith apple

sandwich: cheeseburger

orange: orange

broccoli: broccoli

hot dog: hot dog

pizza: pizza

chair: barber chair, folding chair, rocking chair, throne

couch: couch

potted plant: plant pot

bed: bassinet, cradle, four-poster bed, infant bed

dining table: dining table

toilet: toilet seat

tv: CRT monitor, monitor, television

laptop: laptop computer, notebook computer

mouse: computer mouse

remote: remote control

keyboard: computer keyboard, typewriter keyboard

cell phone: mobile phone

microwave: microwave oven

oven: rotisserie, stove

toaster: toaster

sink: sink

refrigerator: refrigerator

book: comic book

clock: analog clock, digital clock, wall clock

vase: vase

teddy bear: teddy bear

hair drier: hair dryer
"""


def _read(table: str) -> dict[str, tuple[str, ...]]:
    rows = (paragraph.partition(":") for paragraph in table.strip().split("\n\n"))
    return {name: tuple(" ".join(finer.split()).strip().split(", ")) for name, _, finer in rows}


COCO_TO_IMAGENET: Mapping[str, tuple[str, ...]] = _read(_TABLE)

SHARED = frozenset({"ambulance", "minivan", "pickup truck", "police van", "tram"})
"""Finer names of two classes, on purpose: COCO's own annotators take them for a car or a truck, a bus or a train."""
