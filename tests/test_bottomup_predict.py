"Whole pictures in, everybody out: a perfect network through the predictor, and what bad pictures do to it"
import numpy as np, pytest, torch
from torch import nn
from poselab.codecs.grouping import AssociativeEmbedding, torso_first, true_outputs
from poselab.data.figures import rendered_dataset
from poselab.data.geometry import apply, box_to_center_size, input_matrix
from poselab.evaluate.metrics import evaluate
from poselab.predict import LoadedModel, Predictor, predict_clip, predict_dataset
from poselab.records import Clip
from poselab.schema import load_schema

SIZE,SCHEMA = (256, 192),load_schema('rendered')
CODEC = AssociativeEmbedding(SIZE, order=torso_first(SCHEMA.names))

class Perfect(nn.Module):
    "Gives the truth of one picture after the other; knows which of them is shown only by their order"
    def __init__(self, data):
        super().__init__()
        self.truth = [self.answer(data, im) for im in data.images]
    def answer(self, data, im):
        M,people = input_matrix(*box_to_center_size(np.array([[0, 0, im.width, im.height]]), SIZE[0]/SIZE[1], 1.), SIZE)[0],data.of(im.id)
        return true_outputs(CODEC, torch.tensor(apply(M, people.keypoints))[None].float(), torch.tensor(people.visible)[None])
    def forward(self, x):
        found,self.truth = self.truth[:len(x)],self.truth[len(x):]
        return tuple(torch.cat(o) for o in zip(*found))

class Blank(nn.Module):
    "Sees nobody"
    def forward(self, x):
        n,h,w = len(x),x.shape[-2]//4,x.shape[-1]//4
        return torch.zeros(n, 17, h, w), torch.zeros(n, 17, h, w), torch.zeros(n, 17, 2*h, 2*w)

def predictor(net): return Predictor(LoadedModel(net, CODEC, SCHEMA, {}, 'made'), flip_test=False)

@pytest.mark.parametrize('people', range(2, 9))
def test_true_tags_recover_everybody_in_a_crowd(people):
    data = rendered_dataset(3, seed=people, size=(320, 240), people=people)
    found = predict_dataset(predictor(Perfect(data)), data, progress=False)
    assert len(found) == (data.instances.visible > 0).any(1).sum()
    m = evaluate(data, found)
    assert m['AR50'] == 1. and m['AP'] > .8 # cells of 2 px on an input of 256: small people lose a little

def test_a_batch_of_pictures_gives_each_its_own_people():
    data = rendered_dataset(20, seed=1, size=(160, 120), people=(1, 3))
    found = predict_dataset(predictor(Perfect(data)), data, progress=False)
    for im in data.images: assert (found.image_id == im.id).sum() == len(data.of(im.id))

def test_where_nobody_is_seen_nobody_is_reported():
    data = rendered_dataset(3, seed=1, size=(160, 120), people=1)
    found = predict_dataset(predictor(Blank()), data, progress=False)
    assert len(found) == 0 and evaluate(data, found)['AP'] == 0

def test_a_film_needs_no_detector_and_numbers_its_people():
    data = rendered_dataset(6, seed=4, size=(160, 120), people=2)
    def never(img): raise AssertionError('a bottom-up network asks no detector')
    p = predictor(Perfect(data)); p._detector = never
    film = [data.image(im.id) for im in data.images]
    rows = list(p.stream(film, progress=False))
    assert [len(r) for r in rows] == [2]*6 and all((r.track_id > 0).all() for r in rows)

def test_the_main_person_of_a_clip_is_a_row_for_every_frame():
    data = rendered_dataset(4, seed=4, size=(160, 120), people=2)
    frames = [data.image(im.id) for im in data.images]
    film = Clip('made', 25., (160, 120), 4, lambda: iter(frames))
    assert [len(r) for r in predict_clip(predictor(Perfect(data)), film, progress=False)] == [1]*4
    nobody = list(predict_clip(predictor(Blank()), film, progress=False))
    assert [len(r) for r in nobody] == [1]*4 and not any(r.confidence.any() for r in nobody)

@pytest.mark.parametrize('size', [(37, 211), (256, 192), (8, 8), (1000, 31)])
def test_any_shape_of_picture_is_fitted_whole(size):
    inputs,M = predictor(Blank()).cut(np.zeros((size[1], size[0], 3), np.uint8), None)
    corners = apply(M[0], np.array([[0, 0], [size[0] - 1, size[1] - 1]], float))
    assert inputs.shape == (1, SIZE[1], SIZE[0], 3)
    assert (corners >= -1).all() and (corners <= np.array(SIZE)).all()
    assert len(predictor(Blank()).on_image(np.zeros((size[1], size[0], 3), np.uint8))) == 0

def test_several_scales_give_one_answer_at_the_size_of_the_first():
    seen = []
    class Watched(Blank):
        def forward(self, x):
            seen.append(tuple(x.shape[-2:]))
            return super().forward(x)
    p = Predictor(LoadedModel(Watched(), CODEC, SCHEMA, {}, 'made'), flip_test=True, scales=(1., .5))
    assert len(p.on_image(np.zeros((192, 256, 3), np.uint8))) == 0
    assert sorted(set(seen)) == [(96, 128), (192, 256)] and len(seen) == 4 # each also in the mirror

@pytest.mark.parametrize('scales', [(), (-1.,), (0., 1.)])
def test_sizes_that_nobody_can_look_at_are_refused(scales):
    with pytest.raises(ValueError, match='above 0'): Predictor(LoadedModel(Blank(), CODEC, SCHEMA, {}, 'made'), scales=scales)
    with pytest.raises(ValueError, match='one person at a time'): Predictor('rendered-hrnet', scales=(1., 2.))
