import json, logging, math
from dataclasses import replace
import numpy as np, pytest, torch
from poselab.data.figures import rendered_dataset
from poselab.detect import Detector, load_detector
from poselab.models.rtmdet import LAB, RTMDet, level_points, pair_iou
from poselab.traindetect import (ROWS, BoxPictures, DetectDataset, DetectModule, DetectRecipe, FixedPictures, assign, box_ap, collage,
    corners_of, detection_loss, feather, fit_detector, giou, match_cost, place, quality_focal, random_view, stamp)

TOY = DetectRecipe(model=replace(LAB, widen=.0625, width=16), size=(64, 64), shares=(1., 0., 0.), images=8, items=16, epochs=3, batch=8,
                   warmup=2, ema=.5, workers=0)

@pytest.fixture(scope='module')
def drawn(): return BoxPictures(rendered_dataset(8, seed=1, size=(64, 64), people=(1, 2)))

# --- losses --------------------------------------------------------------------------------------------------

def test_the_focal_loss_worked_by_hand():
    logits,quality = torch.tensor([0., 0., math.log(3)]),torch.tensor([.5, 1., .75]) # scores .5, .5, .75
    torch.testing.assert_close(quality_focal(logits, quality), torch.tensor([0., math.log(2)/4, 0.]))

def test_the_focal_loss_is_least_where_the_score_is_the_overlap():
    logits = torch.linspace(-4, 4, 81)
    for q in (.2, .5, .9): assert abs(logits[quality_focal(logits, torch.full_like(logits, q)).argmin()].sigmoid() - q) < .02

def test_giou_worked_by_hand():
    a = torch.tensor([[0., 0, 2, 2]]*4)
    b = torch.tensor([[0., 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [4, 0, 6, 2]])
    torch.testing.assert_close(giou(a, b), torch.tensor([1., 2/6, 0., -2/6]))

def test_a_picture_of_nobody_teaches_scores_only():
    points = level_points((64, 64)); A = len(points)
    logits,boxes = torch.zeros(2, A, requires_grad=True),torch.rand(2, A, 4, requires_grad=True)
    for truth in (torch.zeros(2, 0, 4), torch.zeros(2, ROWS, 4)):
        scores,box = detection_loss(points, logits, boxes, truth)
        assert scores.item() == pytest.approx(2*A*math.log(2)/4, rel=1e-5) and box.item() == 0
        (scores + box).backward()
    assert logits.grad.abs().min() > 0 and (boxes.grad is None or boxes.grad.abs().max() == 0)

def test_the_true_boxes_with_full_scores_cost_next_to_nothing():
    points = level_points((64, 64)); truth = torch.tensor([[[10., 10, 40, 60]]])
    boxes = truth.expand(1, len(points), 4).clone()
    who,_ = assign(points, torch.zeros(1, len(points)), boxes, truth)
    logits = torch.where(who >= 0, 9., -9.)
    scores,box = detection_loss(points, logits, boxes, truth)
    assert scores < 1e-3 and box < 1e-5

# --- who answers for whom ------------------------------------------------------------------------------------

def test_a_grid_of_sixteen_points_worked_by_hand():
    "Points every 8 px; a person from 6 to 26: nine points inside, those near the middle (16, 16) are cheapest"
    y,x = torch.meshgrid(torch.arange(4.), torch.arange(4.), indexing='ij')
    points = torch.stack([x.flatten()*8, y.flatten()*8, torch.full((16,), 8.)], 1)
    truth = torch.tensor([[[6., 6, 26, 26]]])
    boxes = truth.expand(1, 16, 4).clone(); boxes[0, :, 2] = 16. # every point proposes the left half: overlap 1/2
    who,quality = assign(points, torch.zeros(1, 16), boxes, truth)
    assert (who >= 0).sum() == 4 # nine halves make 4.5, so four points answer
    assert who.reshape(4, 4)[2, 2] == 0 and who.reshape(4, 4)[0].max() == -1
    torch.testing.assert_close(quality[who >= 0], torch.full((4,), .5))

def test_a_point_that_two_want_goes_to_the_cheaper_one():
    points = torch.tensor([[16., 16, 8]])
    truth,boxes = torch.tensor([[[0., 0, 30, 30], [0, 0, 40, 60]]]),torch.tensor([[[0., 0, 38, 58]]])
    who,quality = assign(points, torch.zeros(1, 1), boxes, truth)
    assert who.item() == 1 and quality.item() == pytest.approx(38*58/2400)

def loop(points, logits, boxes, truth):
    "The same, person by person and point by point"
    there = [m for m in range(len(truth)) if truth[m, 2] > truth[m, 0] and truth[m, 3] > truth[m, 1]]
    able = [a for a in range(len(points)) if any((points[a, :2] > truth[m, :2]).all() and (points[a, :2] < truth[m, 2:]).all() for m in there)]
    iou,who = pair_iou(boxes, truth),[-1]*len(points)
    cost = match_cost(points, logits[None], iou[None], truth[None])[0]
    taken = {}
    for m in there:
        k = max(int(sorted((iou[a, m] for a in able), reverse=True)[:13] and sum(sorted((iou[a, m] for a in able), reverse=True)[:13])), 1)
        for a in sorted(able, key=lambda a: cost[a, m])[:k]: taken.setdefault(a, []).append(m)
    for a,ms in taken.items(): who[a] = ms[0] if len(ms) == 1 else min(there, key=lambda m: cost[a, m])
    return who

@pytest.mark.parametrize('seed', range(5))
def test_the_assigner_equals_a_loop(seed):
    g = torch.Generator().manual_seed(seed); points = level_points((96, 64))
    xy = torch.rand(2, 4, 2, generator=g)*50; truth = torch.cat([xy, xy + 8 + torch.rand(2, 4, 2, generator=g)*40], -1); truth[1, 2:] = 0
    pick = torch.randint(0, 4, (2, len(points)), generator=g)
    boxes = truth.gather(1, pick[..., None].expand(-1, -1, 4)) + torch.randn(2, len(points), 4, generator=g)*6
    logits = torch.randn(2, len(points), generator=g)
    who,_ = assign(points, logits, boxes, truth)
    for n in range(2): assert who[n].tolist() == loop(points, logits[n], boxes[n], truth[n])

def test_a_person_between_all_points_is_nobodys():
    who,q = assign(level_points((64, 64)), torch.zeros(1, 84), torch.rand(1, 84, 4), torch.tensor([[[1., 1, 7, 7]]]))
    assert (who == -1).all() and (q == 0).all()

# --- pictures ------------------------------------------------------------------------------------------------

def test_boxes_move_with_the_picture():
    img = np.zeros((40, 60, 3), np.uint8); img[10:20, 30:50] = 255
    box = np.array([[30., 10, 50, 20]])
    for mirror in (False, True):
        view,b = place(img, box, (64, 64), 1., (3, 5), mirror)
        x0,y0,x1,y1 = b[0].astype(int)
        assert (view[y0:y1, x0:x1] == 255).all() and (view == 255).sum() == 600
    view,b = place(img, box, (64, 64), .5, (-10, 0))
    assert b.tolist() == [[5, 5, 15, 10]] and (view[5:10, 5:15] > 200).all()

def test_random_views_keep_boxes_on_dancers(drawn):
    rng = np.random.default_rng(0); img = np.zeros((64, 64, 3), np.uint8); img[20:40, 10:30] = 255
    for _ in range(30):
        view,rows = random_view(img, np.array([[10., 20, 30, 40]]), (96, 64), rng)
        assert view.shape == (64, 96, 3) and rows.shape == (ROWS, 4)
        ys,xs = np.where(view[..., 0] > 180)
        if rows[0].any(): np.testing.assert_allclose(rows[0], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=2)

def test_a_collage_shows_everyone_whose_box_it_gives():
    rng = np.random.default_rng(0); people = []
    for level in (250, 200, 150):
        img = np.full((60, 40, 3), 20, np.uint8); img[10:50, 10:30] = level; people.append((img, np.array([10., 10, 30, 50])))
    seen = 0
    for _ in range(20):
        view,boxes = collage(people, np.zeros((96, 128, 3), np.uint8), rng)
        assert len(boxes) <= 3
        for x0,y0,x1,y1 in np.clip(boxes, 0, [128, 96, 128, 96]).round().astype(int): seen += (view[y0:y1, x0:x1] > 100).mean() > .4
    assert seen > 20

def test_a_stamp_fades_at_its_edges_and_may_lie_outside():
    assert feather((8, 8), .5)[4, 4, 0] == 1 and feather((8, 8), .5)[0, 0, 0] < .5 and (feather((5, 9), 0.) == 1).all()
    view = np.zeros((20, 20, 3), np.uint8); stamp(view, np.full((10, 10, 3), 200, np.uint8), (15, -5), 0.)
    assert (view[:5, 15:] == 200).all() and view.sum() == 200*75
    stamp(view, np.full((10, 10, 3), 9, np.uint8), (50, 50), 0.)

def test_an_item_is_the_same_whenever_it_is_asked_for(drawn):
    a,b = DetectDataset(TOY, drawn),DetectDataset(TOY, drawn)
    for i in (0, 5, 16, 37): assert all(torch.equal(x, y) for x,y in zip(a[i], b[i]))
    assert not torch.equal(a[0][0], a[16][0]) # another epoch, another view
    x,rows = a[3]
    assert x.shape == (3, 64, 64) and x.dtype == torch.uint8 and rows.shape == (ROWS, 4)

def test_a_data_set_without_a_source_is_refused(drawn):
    with pytest.raises(ValueError, match='at least one source'): DetectDataset(replace(TOY, shares=(0., 1., 1.)), drawn)

def test_crowds_are_painted_over_and_no_box_of_theirs_is_learned():
    data = rendered_dataset(2, seed=1, size=(64, 64), people=2); inst = data.instances
    crowd = inst.iscrowd.copy(); crowd[0] = True
    before,after = BoxPictures(data),BoxPictures(replace(data, instances=inst.replace(iscrowd=crowd)))
    assert len(after[0][1]) == len(before[0][1]) - 1
    x0,y0,x1,y1 = corners_of(inst.bbox[0])[0].astype(int)
    assert (after[0][0][y0:y1, x0:x1] == 114).all()

# --- measure -------------------------------------------------------------------------------------------------

def test_average_precision_worked_by_hand():
    t = [np.array([[0., 0, 10, 10]]), np.array([[0., 0, 10, 10]]), np.zeros((0, 4))]
    none = np.zeros((0, 4)),np.zeros(0)
    assert box_ap(t, [(t[0], [.9]), (t[1], [.8]), none]) == pytest.approx(dict(AP=1, AP50=1, AP75=1))
    half = box_ap(t, [(t[0], [.9]), none, none])
    assert half['AP50'] == pytest.approx(51/101, abs=1e-6) # half of the people, none wrong
    false = box_ap(t, [(t[0], [.9]), none, (t[0], [.95])]) # and one where nobody is, surer than the right one
    assert false['AP50'] == pytest.approx(51/101/2, abs=1e-6)
    assert box_ap(t, [none]*3)['AP50'] == 0

# --- runs ----------------------------------------------------------------------------------------------------

@pytest.fixture
def quiet():
    for name in ('lightning.pytorch', 'lightning.fabric'): logging.getLogger(name).setLevel(logging.ERROR)

def test_four_pictures_are_learned_by_heart():
    torch.manual_seed(0)
    few = BoxPictures(rendered_dataset(4, seed=3, size=(96, 96), people=(1, 2)))
    x,truth = map(torch.stack, zip(*(FixedPictures(few, (96, 96))[i] for i in range(4))))
    m = DetectModule(replace(TOY, model=replace(LAB, deepen=.1, widen=.0625, width=16), size=(96, 96))); m.log_dict = lambda *a,**k: None
    for b in m.modules():
        if isinstance(b, torch.nn.BatchNorm2d): b.momentum = .3 # few steps: let the running statistics keep up
    opt = torch.optim.AdamW(m.parameters(), 4e-3)
    for _ in range(60): m.training_step((x, truth), 0).backward(); opt.step(); opt.zero_grad()
    d = Detector(m.model.eval(), score=.2, input_size=(96, 96))
    found = d.on_images([few[i][0] for i in range(4)])
    ap = box_ap([few[i][1] for i in range(4)], [(corners_of(b), s) for b,s in found])
    assert ap['AP50'] > .9, ap

def data_for(drawn): return DetectDataset(TOY, drawn), FixedPictures(drawn, TOY.size)

def test_a_stopped_run_ends_on_the_same_weights(drawn, tmp_path, quiet):
    whole = load_detector(fit_detector(TOY, tmp_path/'whole', data_for(drawn), progress=False)).model.state_dict()
    class Stop(Exception): pass
    real,seen = DetectModule.on_train_epoch_start,[]
    def stop(self):
        seen.append(self.current_epoch)
        if self.current_epoch == 2 and len(seen) == 3: raise Stop
    DetectModule.on_train_epoch_start = stop
    try:
        with pytest.raises(Stop): fit_detector(TOY, tmp_path/'part', data_for(drawn), progress=False)
        assert seen == [0, 1, 2] and not (tmp_path/'part'/'weights.safetensors').exists()
        again = load_detector(fit_detector(TOY, tmp_path/'part', data_for(drawn), progress=False))
    finally: DetectModule.on_train_epoch_start = real
    assert seen == [0, 1, 2, 2] # only the third epoch is done again, though none was better than the first
    for k,v in again.model.state_dict().items(): torch.testing.assert_close(v, whole[k], rtol=1e-3, atol=1e-4)
    assert again.meta['recipe']['epochs'] == 3 and 'val_hit' in again.meta['figures']

def test_a_folder_with_another_recipe_is_not_continued(drawn, tmp_path):
    (tmp_path/'recipe.json').write_text(json.dumps(dict(seed=5)))
    with pytest.raises(ValueError, match='another recipe'): fit_detector(TOY, tmp_path, data_for(drawn), progress=False)
