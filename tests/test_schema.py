"A data card with a wrong head is refused, and the message names file, line and field"
import copy, math, os, pickle, re, subprocess, sys
import pytest, yaml
from hypothesis import given, strategies as st
from poselab.schema import (FieldError, PoseSchema, card_names, cards_folder, guess_schema, load_schema, make_schema,
    read_card)

HEAD = yaml.safe_load("""
pretty_name: Mine
license: unknown
task_categories: [keypoint-detection]
annotations_creators: [expert-generated]
source_datasets: [original]
tags: [human-pose]
dataset_info:
  splits: [{name: train, num_examples: 7}, {name: val, num_examples: 3}]
pose:
  version: 1
  status: held
  source: {home: unknown, paper: none, format: coco-json}
  files: {train: {annotations: mine/train.json}}
  counts:
    train: {people: 7, checked: true}
    val: {people: 3, checked: false}
    total: {people: 10, checked: false}
  keypoints: [nose, left_wrist, right_wrist, left_hip, right_hip]
  upper_body: [nose, left_wrist, right_wrist]
  lower_body: [left_hip, right_hip]
  skeleton_base: 0
  skeleton: [[0, 1], [0, 2], [1, 3], [2, 4], [3, 4]]
  flip_pairs: [[1, 2], [3, 4]]
  oks_sigmas: [0.026, 0.062, 0.062, 0.107, 0.107]
  oks_sigmas_source: COCO
  torso: [left_wrist, right_hip]
  known_issues: [{what: few people, effect: luck, check: counts}]
""")

def write(folder, head, text='# Mine\n', name='mine'):
    "A card file; the head may be a dict or raw text"
    path = folder/f'{name}.md'
    raw = head if isinstance(head, str) else yaml.safe_dump(head, sort_keys=False)
    path.write_text(f'---\n{raw}---\n{text}')
    return path

def changed(where, value):
    "HEAD with one dotted field replaced"
    head = copy.deepcopy(HEAD)
    *way,last = where.split('.')
    spot = head
    for key in way: spot = spot[key]
    spot[last] = value
    return head

def without(where):
    head = changed(where, None)
    *way,last = where.split('.')
    spot = head
    for key in way: spot = spot[key]
    del spot[last]
    return head

def test_a_good_card_is_read(tmp_path):
    card = read_card(write(tmp_path, HEAD))
    s = card.schema
    assert (card.name, card.status, card.text) == ('mine', 'held', '# Mine\n')
    assert s.names == tuple(HEAD['pose']['keypoints']) and s.num_keypoints == 5
    assert s.flip == (0, 2, 1, 4, 3) and s.sides == ('centre', 'left', 'right', 'left', 'right')
    assert s.limb_sides == ('left', 'right', 'left', 'right', 'centre')
    assert (s.upper, s.lower, s.torso) == ((0, 1, 2), (3, 4), (1, 4))
    assert card.splits['train'] == dict(num_examples=7, files=dict(annotations='mine/train.json'), counts=dict(people=7, checked=True))
    assert list(card.splits) == ['train', 'val']

def test_check_says_each_difference_in_words(tmp_path):
    card = read_card(write(tmp_path, HEAD))
    assert card.check('train', dict(people=7)) == []
    assert card.check('train', dict(people=8, images=2)) == ['mine, train: the card says 7 people, counted 8.',
                                                             'mine, train: the card says None images, counted 2.']

BROKEN = [ # field, wrong value, what the message must contain; the field is the one blamed unless a fourth says another
    ('pose.keypoints', ['nose', 'left_wrist', 'left_wrist', 'left_hip', 'right_hip'], 'left_wrist occurs more than once'),
    ('pose.keypoints', 'nose', 'must be a list of names'),
    ('pose.keypoints', [], 'at least one'),
    ('pose.keypoints', [False, 'left_wrist', 'right_wrist', 'left_hip', 'right_hip'], 'False is not a name'),
    ('pose.keypoints', [''], 'is not a name'),
    ('pose.keypoints', ['nose', 'a', 'b', 'left_hip', 'right_hip'], 'called left_x and right_x', 'pose.flip_pairs'),
    ('pose.skeleton_base', 1, 'must be 0'),
    ('pose.skeleton_base', False, 'must be 0'),
    ('pose.skeleton', [[0, 5]], 'out of range; keypoints are numbered 0 to 4'),
    ('pose.skeleton', [[-1, 2]], 'out of range'),
    ('pose.skeleton', [[0, 1], [1, 0]], 'more than once'),
    ('pose.skeleton', [[2, 2]], 'with itself'),
    ('pose.skeleton', [[0, 1, 2]], 'not a pair'),
    ('pose.skeleton', [[0, 1.5]], 'not a pair of whole numbers'),
    ('pose.skeleton', [[0, True]], 'not a pair of whole numbers'),
    ('pose.skeleton', 'none', 'must be a list'),
    ('pose.flip_pairs', [[1, 2], [1, 4]], 'only one mirror partner'),
    ('pose.flip_pairs', [[1, 4], [3, 2]], 'partners are called'),
    ('pose.flip_pairs', [[0, 1], [3, 4]], 'partners are called'),
    ('pose.flip_pairs', [[1, 2]], 'left_hip (keypoint 3) has no partner'),
    ('pose.flip_pairs', [[1, 9], [3, 4]], 'out of range'),
    ('pose.oks_sigmas', [.1, .1, .1], '3 sigmas for 5 keypoints'),
    ('pose.oks_sigmas', [.1, .1, .1, .1, 0], 'right_hip has 0; a sigma is a positive number'),
    ('pose.oks_sigmas', [.1, -.1, .1, .1, .1], 'left_wrist has -0.1'),
    ('pose.oks_sigmas', [math.nan, .1, .1, .1, .1], 'nose has nan'),
    ('pose.oks_sigmas', [math.inf, .1, .1, .1, .1], 'nose has inf'),
    ('pose.oks_sigmas', ['x', .1, .1, .1, .1], "nose has 'x'"),
    ('pose.oks_sigmas', [True, .1, .1, .1, .1], 'nose has True'),
    ('pose.oks_sigmas', .1, 'must be a list of numbers'),
    ('pose.oks_sigmas_source', '', 'must say where'),
    ('pose.torso', ['left_wrist'], 'must name two'),
    ('pose.torso', ['left_wrist', 'tail'], "'tail' is not one of the keypoints"),
    ('pose.upper_body', ['nose', 'left_wrist'], 'right_wrist is in neither half'),
    ('pose.upper_body', ['nose', 'left_wrist', 'right_wrist', 'left_hip'], 'left_hip is in the upper body too', 'pose.lower_body'),
    ('pose.lower_body', ['left_hip', 'right_hip', 'knee'], "'knee' is not one of the keypoints"),
    ('pose.version', 2, 'reads version 1'),
    ('pose.status', 'borrowed', "'borrowed' is none of held, described, synthetic"),
    ('pose.status', 'described', 'a described data set has no files', 'pose.files'),
    ('pose.files', {}, 'must say where the held files are'),
    ('pose.files', [], 'must be a mapping'),
    ('pose.files', {'train': {}}, 'must name its annotations', 'pose.files.train'),
    ('pose.files', {'train': {'annotations': '../x.json'}}, 'not a path inside', 'pose.files.train.annotations'),
    ('pose.files', {'train': {'annotations': '/etc/x.json'}}, 'not a path inside', 'pose.files.train.annotations'),
    ('pose.files', {'train': {'annotations': 'C:/x.json'}}, 'not a path inside', 'pose.files.train.annotations'),
    ('pose.counts', {'train': {'people': 7}}, 'must say checked', 'pose.counts.train'),
    ('pose.counts', {'train': {'people': 7, 'checked': 'yes'}}, 'must say checked', 'pose.counts.train'),
    ('pose.counts', {'train': {'people': -7, 'checked': False}}, '-7 is not a count', 'pose.counts.train.people'),
    ('pose.counts', {'train': {'people': 7.5, 'checked': False}}, '7.5 is not a count', 'pose.counts.train.people'),
    ('pose.counts', {'val': {'people': 3, 'checked': True}}, 'no file to count', 'pose.counts.val.checked'),
    ('pose.counts.total.people', 11, '11 is not the sum 7 + 3'),
    ('pose.known_issues', 'none', 'must be a list'),
    ('pose.known_issues', [{'what': 'few people'}], 'must have what, effect and check'),
    ('pose.torzo', 1, 'is not a field we know'),
    ('pose', 'x', 'must be a mapping'),
    ('license', None, 'must be a text'),
    ('dataset_info.splits', None, 'must be a list'),
    ('dataset_info.splits', [{'num_examples': 1}], 'has no name'),
    ('dataset_info.splits', [{'name': 'train', 'num_examples': 'many'}], "num_examples is 'many', not a count"),
    ('dataset_info.splits', [{'name': 'a', 'num_examples': 1}, {'name': 'a', 'num_examples': 1}], 'a occurs more than once'),
]

def line_of(path, where):
    "The line a person would point at: the last key of `where` that is there, found by walking down the text"
    lines,at = path.read_text().splitlines(),0
    for depth,key in enumerate(where.split('.')):
        hit = next((i for i in range(at, len(lines)) if re.match(rf' {{{2*depth}}}{key}:', lines[i])), None)
        if hit is None: break
        at = hit
    return at + 1

@pytest.mark.parametrize('case', BROKEN, ids=lambda c: f'{c[0]}={str(c[1])[:30]}')
def test_a_broken_card_is_refused_with_file_line_and_field(tmp_path, case):
    field,value,words,*other = case
    path = write(tmp_path, changed(field, value))
    blamed = other[0] if other else field
    with pytest.raises(ValueError) as e: read_card(path)
    message = str(e.value)
    assert message.startswith(f'mine.md, line {line_of(path, blamed)}: {blamed}: ') and words in message

REQUIRED = ['pretty_name', 'license', 'task_categories', 'annotations_creators', 'source_datasets', 'tags', 'dataset_info',
    'pose'] + [f'pose.{k}' for k in HEAD['pose']]

@pytest.mark.parametrize('field', REQUIRED)
def test_a_missing_field_is_named(tmp_path, field):
    with pytest.raises(ValueError, match=rf'mine\.md, line \d+: {re.escape(field)}: is missing'):
        read_card(write(tmp_path, without(field)))

@pytest.mark.parametrize('raw, words', [
    ('pose: [1, 2\n', 'not YAML'), ('a: b: c\n', 'not YAML'), ('\tx: 1\n', 'not YAML'), ('- a\n- b\n', 'list of fields'),
    ('', 'list of fields'), ('just words\n', 'list of fields'), ('x: !!python/object:os.system {}\n', 'not YAML')])
def test_a_head_that_is_not_yaml_is_refused(tmp_path, raw, words):
    with pytest.raises(ValueError, match=rf'^mine\.md: .*{words}'): read_card(write(tmp_path, raw))

@pytest.mark.parametrize('text', ['', '# no head at all\n', 'words\n---\npose: 1\n---\n', '---\npose: 1\n'])
def test_a_page_without_a_head_is_refused(tmp_path, text):
    (tmp_path/'mine.md').write_text(text)
    with pytest.raises(ValueError, match=r'^mine\.md: has no head'): read_card(tmp_path/'mine.md')

def test_a_picture_is_not_a_card(tmp_path):
    (tmp_path/'mine.md').write_bytes(b'\x89PNG\r\n\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'^mine\.md: not a text file'): read_card(tmp_path/'mine.md')

def test_a_key_that_stands_twice_is_refused(tmp_path):
    raw = yaml.safe_dump(HEAD, sort_keys=False) + '  torso: [left_wrist, left_hip]\n'
    with pytest.raises(ValueError, match=r'pose\.torso: occurs more than once'): read_card(write(tmp_path, raw))

def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path):
    path = write(tmp_path, HEAD, '# Mine\n\nA line.\n---\nA rule above.\n')
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes().replace(b'\n', b'\r\n'))
    card = read_card(path)
    assert card.schema.num_keypoints == 5 and card.text == '# Mine\n\nA line.\n---\nA rule above.\n'

def test_an_unknown_card_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match='no such data card; there are .*coco, .*lspet'): read_card('cocoo')
    with pytest.raises(FileNotFoundError, match='no such data card'): load_schema('../coco')

def test_an_unknown_keypoint_lists_the_known_ones():
    with pytest.raises(ValueError, match="coco has no keypoint 'tail'; it has nose, left_eye"): load_schema('coco').index('tail')

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('POSELAB_CARDS', str(tmp_path))
    return tmp_path

def borrower(other):
    head = copy.deepcopy(HEAD)
    for key in ('keypoints', 'upper_body', 'lower_body', 'skeleton_base', 'skeleton', 'flip_pairs', 'oks_sigmas',
                'oks_sigmas_source', 'torso'): del head['pose'][key]
    head['pose']['schema_of'] = other
    return head

def test_a_card_may_borrow_the_keypoints_of_another(folder):
    write(folder, HEAD, name='owner')
    write(folder, borrower('owner'), name='guest')
    assert card_names() == ['guest', 'owner'] and cards_folder() == folder
    assert load_schema('guest') is load_schema('owner') and load_schema('guest').name == 'owner'

@pytest.mark.parametrize('other', ['nobody', 'guest', 'chain', 5, ['owner']])
def test_a_borrowed_schema_must_have_an_owner(folder, other):
    write(folder, HEAD, name='owner')
    write(folder, borrower('owner'), name='chain')
    with pytest.raises(ValueError, match=r'guest\.md, line \d+: pose\.schema_of: '): read_card(write(folder, borrower(other), name='guest'))

def test_a_second_copy_of_the_keypoints_is_refused(folder):
    write(folder, HEAD, name='owner')
    head = borrower('owner')
    head['pose']['keypoints'] = ['nose']
    with pytest.raises(ValueError, match='keypoints is in this card too; keep one copy'): read_card(write(folder, head, name='guest'))

def test_an_empty_folder_of_cards_says_so(folder):
    with pytest.raises(FileNotFoundError, match='there are none; set POSELAB_CARDS'): load_schema('coco')

def test_a_schema_is_read_once_until_its_card_changes(folder):
    path = write(folder, HEAD)
    first = load_schema('mine')
    assert load_schema('mine') is first
    write(folder, changed('pose.oks_sigmas', [.05]*5))
    os.utime(path, ns=(1, 1))
    assert load_schema('mine').oks_sigmas == (.05,)*5

def test_a_schema_travels_to_another_process():
    s = load_schema('coco')
    assert pickle.loads(pickle.dumps(s)) == s and hash(s) == hash(pickle.loads(pickle.dumps(s)))

@given(st.lists(st.sampled_from('elbow wrist hip knee ankle eye ear tip'.split()), unique=True),
       st.lists(st.sampled_from('nose neck pelvis chest'.split()), unique=True), st.randoms(use_true_random=False))
def test_any_list_of_named_keypoints_mirrors_back_to_itself(parts, middles, rnd):
    names = [f'{side}_{p}' for p in parts for side in ('left', 'right')] + middles
    rnd.shuffle(names)
    if not names: return
    s = guess_schema('any', names)
    assert all(s.flip[s.flip[i]] == i for i in range(len(names)))
    assert all((s.flip[i] == i) == (s.sides[i] == 'centre') for i in range(len(names)))
    assert sorted(s.upper + s.lower) == list(range(len(names)))

def test_a_guessed_schema_says_where_its_sigmas_come_from():
    s = guess_schema('aic', ['Right Shoulder', 'Left Shoulder', 'Right Hip', 'Left Hip', 'Neck', 'Belly'], [(0, 2), (1, 3)])
    coco = load_schema('coco')
    assert s.oks_sigmas[0] == coco.oks_sigmas[coco.index('right_shoulder')] and s.oks_sigmas[4] == .079
    assert 'guessed' in s.sigmas_source and s.torso == (1, 2) and s.lower == (2, 3)

def test_a_guess_still_refuses_a_lonely_side():
    with pytest.raises(FieldError, match='left_wrist .* has no partner'): guess_schema('odd', ['nose', 'left_wrist'])

def test_a_schema_made_by_hand_needs_every_field():
    with pytest.raises(FieldError, match='pose.upper_body: is missing'): make_schema('tiny', dict(keypoints=['nose']))

def test_reading_schemas_needs_neither_torch_nor_opencv():
    code = "import sys, poselab.schema as s; s.load_schema('coco'); print([m for m in ('torch', 'cv2', 'numpy', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=cards_folder().parent)
    assert out.stdout.strip() == '[]', out.stderr
