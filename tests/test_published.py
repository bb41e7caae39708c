import math
from dataclasses import replace
import pytest, torch
from poselab.models.rtmpose import MEDIUM, TINY, RTMPose
from poselab.modules.counts import count_macs, count_params
from poselab.published import (ROWS, Entry, Row, as_records, as_text, mean_gain, misses, params_of, published_table,
                               rtmpose_costs, saved)

row = lambda published, ours, tolerance=0.: Row('S9', 'a figure', published, lambda: ours, tolerance, 'nobody')

@pytest.fixture(scope='module')
def entries(): return published_table()

def test_every_published_figure_is_reached(entries): assert misses(entries) == [], as_text(misses(entries))

def test_the_exact_counts_of_the_specification_are_in_the_table(entries):
    exact = {e.row.published for e in entries if e.row.tolerance == 0}
    assert {3_337_007, 5_473_251, 13_587_611, 27_660_339, 13_181_789, 13_299_897, 13_038_225, 12_889_659, 13_464_978, 12_279_432,
            426_753, 8_259, 16_515} <= exact
    assert {28_645_331, 28_643_085, 28_762_509, 28_690_689, 30_053_349, 30_220_377, 34_368_729, 29_183_289, 719_885, 761_657, 158_272, 106_048,
            354, 610, 2_146, 8_290, 78_339, 312_307, 1_247_187} <= exact
    assert {30_508_241, 30_432_601, 30_583_881, 30_006_541, 30_082_181, 29_580_481, 1_185_553, 6_156, 5_220, 2_656, 14_032, 24_008, 20_376, 10_432,
            54_816, 94_800, 80_496, 41_344, 216_640, 376_736, 319_968, 164_608, 861_312} <= exact
    assert {15_114_860, 21_543_020, 14_276_052, 13_939_380, 20_704_212, 20_367_540, 13_100_572, 19_528_732, 57_375, 1_010_588, 1_293_124, 6_353_856,
            5_986_560, 2_774_444, 28_488, 50_272, 364_296, 645_472, 665_856, 1_182_720, 656_896, 7_085_056} <= exact
    assert {28_536_113, 63_595_745, 38_848, 286_208, 221_376, 390_848, 73_984, 6_821_632, 1_705_408, 295_424, 20_407_232, 769_984} <= exact

@pytest.mark.parametrize('published,ours,tolerance,ok', [(3, 3, 0, True), (3, 4, 0, False), (1.93, 1.9281, .005, True),
    (1.93, 1.936, .005, False), (.1, .3 - .2, 0., False), (1., math.nan, 9., False), (44.9, 44.95, .05, True)])
def test_a_row_holds_within_its_tolerance_only(published, ours, tolerance, ok):
    e, = published_table(rows=[row(published, ours, tolerance)])
    assert e.ok is ok and len(misses([e])) == (not ok)

def test_a_wrong_row_makes_the_table_fail(entries):
    wrong = replace(ROWS[1], published=ROWS[1].published + 1)
    found = published_table(rows=[ROWS[0], wrong])
    assert [e.row for e in misses(found)] == [wrong] and misses(found)[0].difference == -1
    text = as_text(found)
    assert text.count('differs') == 1 and '1 of 2 figures differ' in text and 'All 2' in as_text(published_table(rows=ROWS[:2]))

def test_a_forgotten_layer_is_a_miss():
    def forgetful():
        m = RTMPose(MEDIUM); m.backbone.stages[3][2].gate = torch.nn.Identity(); return m
    e, = published_table(rows=[Row('S0', 'RTMPose-m', 13_587_611, lambda: params_of(forgetful))])
    assert not e.ok and e.difference == -768*769

def test_counting_without_numbers_counts_the_same():
    net = RTMPose(TINY)
    for rule in ('macs', 'mm'): assert rtmpose_costs(TINY, rule) == (count_params(net), count_macs(net, torch.zeros(1, 3, 256, 192), rule=rule))

def test_one_system_can_be_asked_for_and_an_unknown_one_is_refused():
    rows = [row(1, 1), replace(row(2, 2), system='S8')]
    assert [e.ours for e in published_table('S8', rows)] == [2]
    with pytest.raises(ValueError, match="'S7'; there are S8, S9"): published_table('S7', rows)

def test_a_figure_of_two_systems_is_found_under_either():
    rows = [replace(row(1, 1), system='S1 S3'), row(2, 2)]
    assert [e.ours for e in published_table('S3', rows)] == [e.ours for e in published_table('S1', rows)] == [1]
    with pytest.raises(ValueError, match="'S1 S3'; there are S1, S3, S9"): published_table('S1 S3', rows)

def test_no_figure_stands_twice(): assert len({(r.system, r.quantity) for r in ROWS}) == len(ROWS)

def test_every_row_says_who_printed_it(): assert all(r.source for r in ROWS)

def test_gains_and_savings_by_hand():
    assert mean_gain(1) == pytest.approx((73.45 - 71.4 + 93.82 - 92.7 + 82.45 - 81.2)/3)
    assert saved(9, 9, 9) == pytest.approx(100*22/49)

def test_machines_get_the_same_table():
    import json
    found = json.loads(json.dumps(as_records(published_table(rows=[row(3, 5)]))))
    assert found == [dict(system='S9', quantity='a figure', published=3, tolerance=0., source='nobody', ours=5., difference=2., ok=False)]
