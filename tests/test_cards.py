"The data cards: complete pages, consistent heads, and numbers that a recount confirms"
import ast, re
from collections import Counter
from functools import lru_cache
from pathlib import Path
import numpy as np, pytest
from poselab.records import data_root, read_json
from poselab.schema import card_names, cards_folder, read_card

ROOT = Path(__file__).parents[1]
CARDS = {n: read_card(n) for n in card_names()}
each_card = pytest.mark.parametrize('card', CARDS.values(), ids=CARDS)
OWN = {n: c for n,c in CARDS.items() if 'schema_of' not in c.head['pose']}
each_list = pytest.mark.parametrize('card', OWN.values(), ids=OWN)

def data(path):
    "A json file of the shared data, or a skip"
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA to count again')
    return _data(root/path)

@lru_cache(maxsize=None)
def _data(path): return read_json(path)

def counts(name, split): return CARDS[name].head['pose']['counts'][split]

# ---- the pages

def test_every_data_set_of_the_house_has_a_card():
    assert set(CARDS) == {'coco', 'mpii', 'posetrack', 'crowdpose', 'lspet', 'running_human', 'dance_rtmpose', 'dance_hrnet', 'rendered', 'posetrack15'}

def test_held_described_and_synthetic_are_told_apart():
    status = {n: c.status for n,c in CARDS.items()}
    assert [n for n,s in status.items() if s == 'described'] == ['dance_hrnet', 'dance_rtmpose', 'posetrack15', 'running_human']
    assert [n for n,s in status.items() if s == 'synthetic'] == ['rendered']

@each_card
def test_the_prose_answers_the_six_questions(card):
    heads = ['One record', 'Who annotated it, and how', 'What is missing or wrong', 'Who is in the pictures', 'Do not use it for',
             'How to cite']
    assert [l[3:] for l in card.text.splitlines() if l.startswith('## ')] == heads
    assert card.text.startswith(f"# {card.head['pretty_name']}\n")
    parts = re.split(r'^## .*$', card.text, flags=re.M)
    assert all(len(p.split()) >= 10 for p in parts), 'one of the answers is nearly empty'

@each_card
def test_shared_keys_have_the_values_of_hugging_face(card):
    h = card.head
    assert h['license'] in {'other', 'unknown', 'apache-2.0'}
    assert h['license'] != 'other' or {'license_name', 'license_link'} <= set(h)
    assert h['task_categories'] == ['keypoint-detection']
    assert set(h['annotations_creators']) <= {'crowdsourced', 'found', 'expert-generated', 'machine-generated'}
    assert set(h['source_datasets']) <= {'original', 'extended'}
    assert set(h.get('size_categories', [])) <= {'n<1K', '1K<n<10K', '10K<n<100K', '100K<n<1M'}

@each_card
def test_a_number_of_a_paper_names_its_paper_and_is_not_called_ours(card):
    for name,c in card.head['pose']['counts'].items():
        if name != 'total' and not c['checked']: assert c.get('source'), f'{name} must say whose number it is'
    if card.status == 'described': assert not any(c['checked'] for c in card.head['pose']['counts'].values())

@each_card
def test_a_card_names_no_machine_and_no_tool(card):
    page = card.path.read_text()
    assert not re.search(r'/work|/root|/home|localhost|TODO', page)

# ---- the keypoints

@each_list
def test_the_skeleton_is_its_own_mirror_image(card):
    s = card.schema
    limbs = {frozenset(l) for l in s.limbs}
    assert {frozenset(s.flip[i] for i in l) for l in limbs} == limbs

@each_list
def test_the_limbs_hang_together(card):
    s,reached = card.schema,{0}
    for _ in s.names: reached |= {j for l in s.limbs if set(l) & reached for j in l}
    alone = {s.index(n) for n in card.head['pose'].get('never_labelled', [])}
    assert reached | alone == set(range(s.num_keypoints))

@each_list
def test_sigmas_are_published_or_say_that_they_are_ours(card):
    s,coco = card.schema,CARDS['coco'].schema
    known = dict(zip(coco.names, coco.oks_sigmas))
    assert s.sigmas_source.startswith('ours' if card.name not in ('coco', 'crowdpose') else 'published')
    for n,sigma in zip(s.names, s.oks_sigmas): assert sigma == known.get(n, sigma), n
    for i,j in enumerate(s.flip): assert s.oks_sigmas[i] == s.oks_sigmas[j]
    extra = {n: sigma for n,sigma in zip(s.names, s.oks_sigmas) if n not in known}
    assert set(extra.values()) <= {.079, .107} and all(s == .107 for n,s in extra.items() if n in ('pelvis', 'chest'))

def test_the_lists_that_the_literature_prints():
    assert CARDS['crowdpose'].schema.oks_sigmas == (.079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089, .079, .079)
    assert sum(CARDS['coco'].schema.oks_sigmas) == pytest.approx(1.138)
    lspet = CARDS['lspet'].schema
    assert [lspet.names[i] for i in (0, 3, 6, 9, 12, 13)] == ['right_ankle', 'left_hip', 'right_wrist', 'left_shoulder', 'neck', 'head_top']
    assert lspet.torso == (9, 2) and CARDS['coco'].schema.torso == (5, 12)
    assert [CARDS[n].schema.num_keypoints for n in ('coco', 'mpii', 'posetrack', 'crowdpose', 'lspet', 'dance_hrnet')] == [17, 16, 17, 14, 14, 15]
    assert CARDS['posetrack'].head['pose']['never_labelled'] == ['left_ear', 'right_ear']

LETTERS = {n for c in CARDS.values() for n in c.schema.names}

@pytest.mark.parametrize('path', sorted((ROOT/'poselab').rglob('*.py')), ids=lambda p: p.stem)
def test_no_module_keeps_a_second_copy_of_the_keypoints(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict)): continue
        inside = node.keys if isinstance(node, ast.Dict) else node.elts
        texts = [e.value for e in inside if isinstance(e, ast.Constant) and isinstance(e.value, str)]
        numbers = [e.value for e in inside if isinstance(e, ast.Constant) and isinstance(e.value, float)]
        assert sum(t in LETTERS for t in texts) < 10, f'{path.name}, line {node.lineno} lists keypoints; read them from a card'
        assert sum(n in (.062, .072, .079, .087, .089, .107) for n in numbers) < 5, f'{path.name}, line {node.lineno} lists sigmas'

# ---- the sums

def test_running_human_adds_up():
    assert 930 + 358 == counts('running_human', 'total')['people'] == 1288
    assert counts('running_human', 'train_augmented')['people'] == 2590 > 930
    assert '839 + 277 = 1,116' in CARDS['running_human'].text

def test_the_dance_clips_hold_a_million_frames():
    c = counts('dance_rtmpose', 'total')
    frames = c['videos']*c['minutes_per_video']*60*c['frames_per_second']
    assert frames == 1_080_000 and f'{frames:,}' in CARDS['dance_rtmpose'].text and c['videos'] // c['people'] == 10

def test_lspet_adds_up():
    c = CARDS['lspet'].head['pose']['counts']
    assert c['train']['people'] + c['val']['people'] == c['total']['people'] == 8843

# ---- the recount

def boxes(anns, images):
    "Keypoints as (P, K, 3), and which of them are labelled but outside the person's box or the image"
    kp = np.array([a['keypoints'] for a in anns], float).reshape(len(anns), -1, 3)
    on,x,y = kp[..., 2] > 0,kp[..., 0],kp[..., 1]
    b = np.array([a['bbox'] for a in anns], float)[:, None]
    size = {i['id']: (i['width'], i['height']) for i in images}
    wh = np.array([size[a['image_id']] for a in anns], float)[:, None]
    out_box = on & ((x < b[..., 0]) | (y < b[..., 1]) | (x > b[..., 0] + b[..., 2]) | (y > b[..., 1] + b[..., 3]))
    out_image = on & ((x < 0) | (y < 0) | (x > wh[..., 0]) | (y > wh[..., 1]))
    return kp, on, out_box, out_image

def count_coco(file, split=None):
    "Everything a card may say about a file in COCO's form"
    images,anns = file['images'],file['annotations']
    if split:
        images = [i for i in images if i['split'] == split]
        ids = {i['id'] for i in images}
        anns = [a for a in anns if a['image_id'] in ids]
    kp,on,out_box,out_image = boxes(anns, images)
    names = file['categories'][0]['keypoints']
    out = dict(images=len(images), people=len(anns), labelled_people=int(on.any(1).sum()), full_people=int(on.all(1).sum()),
        crowds=sum(bool(a.get('iscrowd')) for a in anns), labelled_keypoints=int(on.sum()), occluded_keypoints=int((kp[..., 2] == 1).sum()),
        images_without_people=len({i['id'] for i in images} - {a['image_id'] for a in anns}),
        keypoints_outside_box=int(out_box.sum()), keypoints_outside_image=int(out_image.sum()),
        wrong_num_keypoints=sum(a['num_keypoints'] != n for a,n in zip(anns, on.sum(1))))
    if 'right_hip' in names: out['people_without_torso'] = int((~on[:, [names.index(n) for n in ('left_shoulder', 'right_hip')]]).any(1).sum())
    return out

def count_mpii(file):
    if isinstance(file, list): return dict(images=len({r['image'] for r in file}), people=len(file))
    items = file['items']
    on = np.array([[p is not None for p in i['gt']] for i in items])
    seen = np.array([i['mpii_visible_flag'] for i in items]) > 0
    return dict(images=len({i['image'] for i in items}), people=len(items), full_people=int(on.all(1).sum()),
        labelled_keypoints=int(on.sum()), not_visible_keypoints=int((on & ~seen).sum()))

CHECKED = [(n, s) for n,c in CARDS.items() if c.status == 'held' for s,v in c.head['pose']['counts'].items() if v['checked']]

@pytest.mark.parametrize('name, split', CHECKED)
def test_numbers_marked_as_checked_are_what_the_files_hold(name, split):
    card = CARDS[name]
    files = card.head['pose']['files'][split]
    file = data(files['annotations'])
    counted = count_mpii(file) if name == 'mpii' else count_coco(file, files.get('split'))
    said = {k for k,n in counts(name, split).items() if not isinstance(n, bool)}
    assert said <= set(counted), f'nothing counts {said - set(counted)}'
    assert card.check(split, {k: counted[k] for k in said}) == []

@pytest.mark.parametrize('name, split', [(n, s) for n,c in CARDS.items() for s in c.head['pose']['files']])
def test_the_files_a_card_names_are_there(name, split):
    root = data_root()
    if root is None: pytest.skip('no shared data: set POSELAB_DATA to look for files')
    files = CARDS[name].head['pose']['files'][split]
    assert all((root/files[k]).exists() for k in ('images', 'annotations') if k in files)

@pytest.mark.parametrize('name, split', [('coco', 'mini_train'), ('coco', 'mini_val'), ('coco', 'val_525'), ('crowdpose', 'val'),
    ('crowdpose', 'sample'), ('lspet', 'train'), ('posetrack', 'sample_2018'), ('mpii', 'val')])
def test_files_list_the_keypoints_in_the_order_of_the_card(name, split):
    file = data(CARDS[name].head['pose']['files'][split]['annotations'])
    names = file['joint_names'] if name == 'mpii' else file['categories'][0]['keypoints']
    assert tuple(names) == CARDS[name].schema.names

def test_the_limbs_of_coco_are_those_of_its_files_less_one():
    file = data('annotations/coco_val2017_525_person_keypoints.json.gz')
    assert tuple((i-1, j-1) for i,j in file['categories'][0]['skeleton']) == CARDS['coco'].schema.limbs

# ---- the numbers in the prose

def says(name, *texts):
    "The prose of a card, on one line each paragraph, contains these words"
    page = ' '.join(CARDS[name].text.split())
    for t in texts: assert t in page, f'{name}.md does not say {t!r}'

def test_the_prose_on_coco_is_counted():
    c = count_coco(data('annotations/coco_val2017_525_person_keypoints.json.gz'))
    none = c['people'] - c['labelled_people']
    says('coco', f"{none} of {c['people']:,} person records carry no keypoint at all; {c['crowds']} of these are crowds",
        f"{c['keypoints_outside_box']} of its {c['labelled_keypoints']:,} labelled keypoints (4 %)",
        f"{c['occluded_keypoints']:,} of them (12 %)", f"Only {c['full_people']} of its {c['people']:,} people")
    anns = data('annotations/coco_val2017_525_person_keypoints.json.gz')['annotations']
    assert not any(any(a['keypoints'][2::3]) for a in anns if a['iscrowd'])

def test_the_prose_on_mpii_is_counted():
    c = count_mpii(data('annotations/mpii_valid_2958_gt_and_pred.json.gz'))
    says('mpii', f"{c['people'] - c['full_people']} of the {c['people']:,} validation people lack",
        f"{c['not_visible_keypoints']:,} of {c['labelled_keypoints']:,} annotated keypoints (23 %)")

def test_the_prose_on_crowdpose_is_counted():
    file = data('annotations/crowdpose_val_2000.json.gz')
    c = count_coco(file)
    on = np.array([a['keypoints'][2::3] for a in file['annotations']]) > 0
    said = np.array([a['num_keypoints'] for a in file['annotations']])
    assert np.array_equal(said, on[:, :12].sum(1)), 'num_keypoints counts all but head and neck'
    crowd = np.array([a['iscrowd'] for a in file['annotations']]) > 0
    biggest = max(i['crowdIndex'] for i in file['images'])
    says('crowdpose', f"{c['wrong_num_keypoints']:,} of {c['people']:,} people, and says 0 for {(on.any(1) & (said == 0)).sum()}",
        f"{c['occluded_keypoints']:,} of {c['labelled_keypoints']:,} labelled keypoints (66 %)", f'the largest here is {biggest}',
        f'{(~on.any(1) & ~crowd).sum()} people without a labelled keypoint')

def test_the_prose_on_lspet_is_counted():
    file = data('lspet/lspet_256.json')
    kp = np.array([a['keypoints'] for a in file['annotations']]).reshape(-1, 14, 3)
    s,on,xy = CARDS['lspet'].schema,kp[..., 2] > 0,kp[..., :2]
    says('lspet', f'{on.all(1).sum():,} of {len(kp):,} people (40 %)', f'on average {on.sum(1).mean():.1f} are labelled')
    gone = dict(zip(s.names, (~on).mean(0).round(2)))
    assert [n for n,_ in Counter(gone).most_common(3)] == ['neck', 'left_hip', 'right_hip'] and list(gone.values())[12] == .18
    ls,rs,lh,rh = (xy[:, s.index(n)] for n in ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip'))
    shoulders,hips,torso = ls - rs,lh - rh,np.linalg.norm(ls - rh, axis=1)
    wide = on[:, [s.index(n) for n in ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip')]].all(1)
    wide &= (np.linalg.norm(shoulders, axis=1) > .3*torso) & (np.linalg.norm(hips, axis=1) > .2*torso)
    against = wide & ((shoulders*hips).sum(1) < 0)
    pairs = np.linalg.norm(xy[:, :, None] - xy[:, None], axis=-1) + 9*~(on[:, :, None] & on[:, None]) + 9*np.eye(14)
    says('lspet', f'{against.sum()} of {wide.sum():,} people (5 %)', f'In {(pairs < 1e-3).any((1, 2)).sum()} people two keypoints')

def test_the_prose_on_posetrack_is_counted():
    clips = data('posetrack_iqbal/annotations_60_videos.json.gz')['videos']
    people = [p for v in clips for f in v['frames'] for p in f]
    v = np.array([p['keypoints'][2::3] for p in people])
    tracks = sum(len({p['track_id'] for f in c['frames'] for p in f}) for c in clips)
    headless = sum(p.get('head_box') is None for p in people)
    says('posetrack', f"{len(clips)} clips with {sum(len(c['frames']) for c in clips):,} frames, {tracks} tracks and {len(people):,} poses",
        f'{(v == 1).sum():,} of {(v > 0).sum():,} keypoints; {headless:,} of the {len(people):,} poses have no head box')
    assert count_coco(data('posetrack_iqbal/060470979.json'))['people'] == 164

def test_the_numbers_on_the_rendered_dancers_are_counted():
    from poselab.data.figures import rendered_dataset
    data = rendered_dataset(200, seed=0)
    assert CARDS['rendered'].check('sample', dict(images=len(data), people=len(data.instances))) == []
    v = data.instances.visible
    hidden,outside = (v == 1).sum()/(v > 0).sum(),(v == 0).mean()
    said = [int(x)/100 for x in re.findall(r'about (\d+) %', CARDS['rendered'].text)]
    assert said == pytest.approx([hidden, outside], abs=.01)

def test_cards_are_found_from_a_folder_that_holds_another_poselab(tmp_path):
    import os, subprocess, sys
    (tmp_path/'poselab').mkdir()
    code = "from poselab.schema import load_schema; print(load_schema('rendered').name)"
    got = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, env={k: v for k,v in os.environ.items() if k != 'PYTHONPATH'})
    assert got.stdout.strip() == 'coco', got.stderr
