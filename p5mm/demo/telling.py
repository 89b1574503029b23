"""What was found, told: the contact sheet and the report."""

import numpy as np

from p5mm import __version__
from p5mm.baselines.base import Ranker
from p5mm.catalog_index import CatalogIndex
from p5mm.contact_sheet import ContactSheet
from p5mm.dataset import Dataset
from p5mm.demo.files import whole
from p5mm.demo.folder import DemoFolder
from p5mm.demo.movies import CREDIT
from p5mm.demo.shoppers import MODEL, Shop
from p5mm.demo.stickers import attribution
from p5mm.demo.stories import BATCH, new_item_stories, places, unseen_scores
from p5mm.demo.truth import OFFERED, new_item_lift
from p5mm.histories import Histories
from p5mm.pictures import Picture
from p5mm.report import NewItem, Search, Shopper

ABOUT = (
    "Pictures and names go in, recommendations come out. Encoders make a vector of every picture "
    "and every text; projected into the token space of a small T5, the vectors are soft prompts. "
    "The T5 reads what somebody took, a retriever finds candidates, and the T5 ranks them."
)
MOVIES = "Real people and the films they rated; there are no pictures, so the titles stand for them."
TITLES = {
    "stickers": "A sticker shop, and what its shoppers would like next",
    "movies": "Films, and what their viewers would like next",
}
NEW = 5
